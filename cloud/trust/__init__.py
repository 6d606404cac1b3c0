"""Keys and signatures: the Director, TLS, encryption for ECUs, verification of firmware."""
