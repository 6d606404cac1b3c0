"""Sweeps and measurements of the flash path: `otabench perf`. Each runs against real ECUs, without cloud and gateway process."""
