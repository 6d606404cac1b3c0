"""Frame gates of a bench: which buses get one, and how a fault of frames reaches it.

A bus with a gate has its simulated ECUs on a virtual interface behind it (``bench.frame_gate``); gateway, captures and pacing
stay on the bus itself. A fault may name an ECU (its frames only), a bus, or ``bus`` where there is but one gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.control_port import ControlPort
from bench.errors import WrongUsage
from bench.frame_faults import FRAME_FAULT_KINDS
from bench.options import BenchOptions
from bench.topology import Topology

ANY_BUS: Final = "bus"


def gated_buses(topology: Topology, options: BenchOptions) -> list[str]:
    """Buses that get a gate: all SocketCAN buses with simulated ECUs, where one is asked for or a fault needs it."""
    if not options.frame_gate and not any(fault.kind in FRAME_FAULT_KINDS for fault in options.faults):
        return []
    used = {topology.ecus[name].bus for name in topology.simulated()}
    return [name for name, bus in topology.buses.items() if name in used and bus.interface == "socketcan"]


def is_frame_fault(target: str, kind: str, *, gates: Mapping[str, int]) -> bool:
    """Whether it is the gates' matter, not an ECU's."""
    return kind in FRAME_FAULT_KINDS or target in gates or target == ANY_BUS


def gate_of(target: str, *, gates: Mapping[str, int], ecus: Mapping[str, Mapping[str, Any]]) -> ControlPort:
    """The control port of the gate of a bus, or of an ECU's bus.

    Args:
        target: an ECU, a bus, or "bus".
        gates: control port by bus.
        ecus: ``bus``, ``request_id`` and ``response_id`` by ECU.

    Raises:
        WrongUsage: there is no such gate.
    """
    if not gates:
        raise WrongUsage(f"{target}: faults of frames need a frame gate: start the bench with --frame-gate")
    bus = str(ecus[target]["bus"]) if target in ecus else target
    if target == ANY_BUS and len(gates) == 1:
        bus = next(iter(gates))
    if bus not in gates:
        raise WrongUsage(f"{target!r} is no ECU or bus with a frame gate; known: {', '.join([*ecus, *gates])}")
    return ControlPort(f"frame gate of {bus}", gates[bus])


def set_fault(
    target: str,
    kind: str,
    parameters: Mapping[str, Any],
    *,
    gates: Mapping[str, int],
    ecus: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Sets a fault of frames; what the gate then says of itself. See ``gate_of``.

    Raises:
        WrongUsage: there is no such gate.
        EndpointError: the gate does not answer or refuses.
    """
    gate = gate_of(target, gates=gates, ecus=ecus)
    ids = {"ids": [ecus[target]["request_id"], ecus[target]["response_id"]]} if target in ecus else {}
    return gate.call("fault", **{"kind": kind, **ids, **parameters})
