"""A bench as a whole: its processes, ECUs, jobs, keys and lock. ``bench.Bench`` brings it up and down."""
