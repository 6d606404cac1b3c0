"""The names of a bench's processes, as in its messages, its logs and `bench.processes`."""

from __future__ import annotations

from typing import Final

BROKER: Final = "broker"
CLOUD_CONTROL: Final = "cloud-control"
CLOUD_ARTIFACTS: Final = "cloud-artifacts"
GATEWAY: Final = "gateway"
CAPTURES: Final = "can-"
"""The names of captures begin with this."""


def ecu_process(ecu: str) -> str:
    """Return the name of a simulated ECU's process."""
    return f"ecu-{ecu}"


def gate_process(bus: str) -> str:
    """Return the name of the process that is a bus's frame gate."""
    return f"gate-{bus}"


def load_process(bus: str) -> str:
    """Return the name of the process that loads a bus."""
    return f"load-{bus}"


def capture_process(bus: str) -> str:
    """Return the name of the process that captures a bus."""
    return f"{CAPTURES}{bus}"
