"""The gateway's ends of the cloud's wires: gRPC, wake-up events, downloads."""
