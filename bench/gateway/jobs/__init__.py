"""A job in the vehicle: the action of each state, their order, and the record that survives a restart.

``job_runner`` runs a job, ``actions`` holds the action of each state, and ``journal`` persists every step.
"""
