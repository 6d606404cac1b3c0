"""The control plane: gRPC services for vehicles and operators, and who may call them."""
