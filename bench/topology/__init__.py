"""The bench file: vehicle, buses, ECUs.

``bench_file`` reads and validates it, ``entries`` and ``model`` are its contents, ``rules`` are the rules between entries.
Nothing here opens a bus or starts a process.
"""
