"""Faults and load for ECUs and buses: their control ports, a gate for frames, other nodes' traffic."""
