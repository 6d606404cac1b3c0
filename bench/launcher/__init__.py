"""A bench as a whole: its processes, ECUs, jobs, keys and lock. ``bench.Bench`` is composed of them; ``Bench.bring_up`` starts it."""
