"""The bench: topology, launcher, gateway, captures, report and command line."""

if __name__ != "otabench.bench":  # a second name would mean a second copy of every class and constant
    raise ImportError("import otabench.bench, not bench", name=__name__)
