"""Flash sequences as data: what a tester sends to an ECU, and what the answers mean.

``steps`` are the entries of a sequence, ``template`` the bytes in them, ``values`` what a profile computes (checksums, dates,
counters), ``material`` what is flashed. ``runner`` carries a sequence out over a ``tester``; ``dry_run`` is a tester without a bus.
"""
