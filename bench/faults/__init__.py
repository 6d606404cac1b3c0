"""Faults and load for ECUs and buses.

``control_port`` is the client of all control ports, ``frame_gate`` injects faults of CAN frames, ``bus_load`` sends other nodes' traffic.
"""
