"""Checks for ``otabench doctor`` (this machine and its buses) and ``otabench bench check`` (a bench file).

``machine`` reads the state of this machine; ``links``, ``error_frames`` and ``adapters`` judge it. ``bench_check`` and ``bus_probe`` check
what a bench file names. All return ``bench.finding.Finding``.
"""
