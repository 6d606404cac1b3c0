"""Power cuts at every flash operation: ``python -m otabench.ecu_firmware_sim.sweep``."""
