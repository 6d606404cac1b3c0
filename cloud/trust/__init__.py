"""Keys and signatures: the Director, TLS certificates, encryption for ECUs, and verification of firmware."""
