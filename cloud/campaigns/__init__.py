"""Campaigns and jobs: the operator's request, the rules, the manifests, and the course of each job.

Rules are pure (``job_rules``, ``vehicle_rules``, ``transfer_policy``); everything else here applies them to the database.
"""
