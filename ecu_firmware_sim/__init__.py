"""A simulated ECU: UDS server, NOR flash, A/B slots and a bootloader that verifies, boots, confirms or rolls back.

It imports ``proto`` only. The bench starts it as a process (``python -m otabench.ecu_firmware_sim --config FILE``). They meet on the bus,
on the control port and in the trace.
"""

if __name__ != "otabench.ecu_firmware_sim":  # a second name would mean a second copy of every class and constant
    raise ImportError("import otabench.ecu_firmware_sim, not ecu_firmware_sim", name=__name__)
