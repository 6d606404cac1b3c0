"""A simulated ECU: UDS server, NOR flash, A/B slots and a bootloader that verifies, boots, confirms or rolls back.

Imports ``proto`` only. The bench starts it as a process (``python -m ecu_firmware_sim --config FILE``) and meets it on the
bus, on its control port and in the trace.
"""
