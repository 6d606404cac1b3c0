"""The cloud: campaigns, jobs, the Director's signed manifests, artifacts and wake-up events.

Its planes (control, artifacts, events) run as one process each, or all in one (``process``).
"""

# Imported under a second name, every class and constant would exist twice, and comparisons between the copies would fail.
if __name__ != "otabench.cloud":
    raise ImportError("import otabench.cloud, not cloud", name=__name__)
