"""Campaigns and jobs: requests, rules, manifests, the course of each job."""
