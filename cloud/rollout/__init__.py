"""Roll-outs of campaigns: waves, thresholds, rate, start and end.

``rules`` decides, and is pure; ``messages`` reads requests. ``campaigns.rollouts`` applies the decisions to the database.
"""
