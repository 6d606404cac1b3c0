"""``otabench doctor``: what this machine offers a bench, and what is wrong with its buses.

``finding`` is one line; ``links``, ``error_frames`` and ``adapters`` judge what was read (pure); ``machine`` reads.
"""
