"""The control plane: the gRPC services for vehicles and operators, and the authentication of their callers.

``plane`` assembles it, ``server`` opens the port, ``vehicles`` and ``operator`` are the services.
"""
