"""The cloud: campaigns, jobs, the Director's signed manifests, artifacts and wake-up events, as one process per plane."""
