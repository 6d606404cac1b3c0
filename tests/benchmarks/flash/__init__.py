"""The flash path beside the line, the kernel's ISO-TP and a peer in user space: ``python -m tests.benchmarks.flash``."""
