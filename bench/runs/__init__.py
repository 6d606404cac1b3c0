"""The runs that the bench left: what is in their folders, how two of them differ, which are pruned.

Figures are read from report.json, never computed anew; ``bench.report`` writes it. Nothing here needs a bench that is up.
"""
