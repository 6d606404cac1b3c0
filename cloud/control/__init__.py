"""The control plane: the gRPC services for vehicles and operators, and the checks of who calls."""
