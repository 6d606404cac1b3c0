"""The bench file: which vehicle, which buses, which ECUs.

``bench_file`` reads and validates it, ``model`` and ``entries`` are what it means, ``rules`` judge entries against each other.
It opens no bus and starts nothing.
"""
