"""The cloud: campaigns, jobs, the Director's signed manifests, artifacts and wake-up events, as one process per plane."""

if __name__ != "otabench.cloud":  # a second name would mean a second copy of every class and constant
    raise ImportError("import otabench.cloud, not cloud", name=__name__)
