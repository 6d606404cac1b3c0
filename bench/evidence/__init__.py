"""Evidence of one update: one signed file that another machine can verify with the pinned roots alone.

``collect`` takes the parts from a run's folder, ``document`` derives the ``facts`` from them, ``package`` writes and reads the file (a ZIP
of one ``layout``), ``verify`` judges it.
"""
