"""Campaigns and jobs: the operator's request, the rules, the manifests, and the progress of each job.

The rules (``job_rules``, ``vehicle_rules``, ``transfer_policy``) use neither database nor clock. All other modules apply them to the
database.
"""
