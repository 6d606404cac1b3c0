"""The UDS server of a simulated ECU: small rules in the standard's order, and one module for each group of services.

Pure: requests and the time go in, responses come out. A response that takes long comes out as ``PendingResponse``. No socket and no clock
are used here.
"""
