"""The fleet bench: a cloud of one or several control planes, and thousands of simulated vehicles that update by campaigns.

Servers are killed meanwhile, and vehicles misbehave. At the end no job may be lost, doubled or left open (docs/cloud.md).
"""
