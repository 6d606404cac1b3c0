"""The UDS server of a simulated ECU: small rules in the standard's order, and one module for each group of services.

Pure: requests and the time go in, responses come out; what takes long comes out as ``Pending``. It knows no socket and no
clock.
"""
