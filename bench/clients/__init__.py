"""Clients of a running bench: the operator's gRPC, the driver's page, the course of a job."""
