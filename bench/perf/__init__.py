"""Sweeps of faults over whole updates: `otabench perf`. Each runs against simulated ECUs, without cloud and gateway process.

Benchmarks that compare with others are in tests/benchmarks: they are for those who develop this project, not for its users.
"""
