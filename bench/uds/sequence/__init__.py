"""Flash sequences as data: the requests of a tester, and the meaning of the responses.

``steps`` defines the entries of a sequence, ``template`` the bytes in them, ``values`` the values that a profile computes (checksums,
dates, counters), and ``material`` the data to flash. ``runner`` carries out a sequence over a ``tester``; ``dry_run`` is a tester without a
bus.
"""
