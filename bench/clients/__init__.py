"""Clients of a running bench: the operator's gRPC (``operator``), the driver's page (``hmi``), and the states of a job (``job_watch``)."""
