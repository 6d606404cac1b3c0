"""Faults of a bus: which buses have a frame gate, and which gate or load a fault belongs to.

A bus with a gate has its simulated ECUs on a virtual interface behind it (``faults.frame_gate``); gateway, captures and pacing
stay on the bus itself. Every bus has a process that can load it (``faults.bus_load``). A fault of frames may name an ECU (its
frames only), a bus, or ``bus`` if there is only one gate. A load applies to a bus, or to ``bus`` if there is only one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.errors import UnknownName, WrongUsage
from otabench.bench.faults.control_port import ControlPort, Fault
from otabench.bench.faults.frame_faults import FRAME_FAULT_KINDS, FrameFault
from otabench.bench.faults.load_plan import LOAD_KIND, Load
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.topology.model import Topology

ANY_BUS: Final = "bus"
LOAD_TIMEOUT_S: Final = 30.0
"""A load that is asked for first imports python-can, and its state takes a second to measure."""
BUS_FAULT_KINDS: Final = FRAME_FAULT_KINDS | {LOAD_KIND}


def gated_buses(topology: Topology, options: BenchOptions) -> list[str]:
    """Return the buses that get a gate: all SocketCAN buses with simulated ECUs, if one is requested or a fault needs it."""
    if not options.frame_gate and not any(fault.kind in FRAME_FAULT_KINDS for fault in options.faults):
        return []
    # A gate stands between a simulated ECU and its bus. A board is on real wires, where nothing can be put in
    # between.
    used = {topology.ecus[name].bus for name in topology.simulated()}
    return [name for name, bus in topology.buses.items() if name in used and bus.interface == "socketcan"]


@dataclass(frozen=True)
class BusPorts:
    """The control ports for faults of buses.

    Attributes:
        gates: control port of each frame gate, by bus.
        loads: control port of each load, by bus.
        ecus: ``bus``, ``request_id`` and ``response_id`` by ECU.
        token: what the ports ask for.
    """

    gates: Mapping[str, int]
    loads: Mapping[str, int]
    ecus: Mapping[str, Mapping[str, Any]]
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, endpoints: Mapping[str, Any]) -> BusPorts:
        """Return those of a bench, by the contents of its bench.json."""
        return cls(
            endpoints.get("frame_gates", {}),
            endpoints.get("bus_loads", {}),
            endpoints["ecus"],
            endpoints["control_token"],
        )

    def concerns(self, target: str, kind: str) -> bool:
        """Return whether such a fault belongs to a bus, not to an ECU."""
        return kind in BUS_FAULT_KINDS or (target not in self.ecus and (target in self.loads or target == ANY_BUS))

    def targets(self, ecus: Iterable[str]) -> list[str]:
        """Return what a fault can name: those ECUs and the buses."""
        return [*ecus, *self.loads, *([ANY_BUS] if len(self.loads) == 1 else [])]

    def gate_of(self, target: str) -> ControlPort:
        """Return the control port of the gate of a bus, or of an ECU's bus.

        Raises:
            WrongUsage: the gate does not exist.
        """
        bus = _gated_bus(target, self.gates, self._bus_by_ecu())
        return ControlPort(bus, self.gates[bus], what="frame gate", token=self.token)

    def load_of(self, target: str = ANY_BUS) -> ControlPort:
        """Return the control port of the load of a bus: ``.fault("load", share=60)``, ``.state()``, ``.clear()``.

        Args:
            target: a bus; may be left out where the bench has only one.

        Raises:
            WrongUsage: the bus does not exist, or there are several and none is named.
        """
        bus = _loadable_bus(target, self.loads, self._bus_by_ecu())
        return ControlPort(bus, self.loads[bus], what="load of bus", timeout_s=LOAD_TIMEOUT_S, token=self.token)

    def _bus_by_ecu(self) -> dict[str, str]:
        return {name: str(entry["bus"]) for name, entry in self.ecus.items()}

    def set_fault(self, target: str, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Set a fault of frames or a load. Return what its process then reports.

        Raises:
            WrongUsage: no fault of a bus, no such gate or bus, or the load means nothing.
            EndpointError: the process does not answer or refuses.
        """
        if kind not in BUS_FAULT_KINDS:
            raise WrongUsage(f"{kind} is not a fault of a bus; those are: {', '.join(sorted(BUS_FAULT_KINDS))}")
        if kind == LOAD_KIND:
            port = self.load_of(target)
            Load.parse(_without_seed(parameters))
            # Parsed here as well (above), so that a wrong number is refused without a load that takes seconds to
            # start.
            return port.call("fault", kind=kind, **parameters)
        ids = {}
        if target in self.ecus:
            # Both directions: a fault of an ECU's frames also meets the requests to it.
            ids = {"ids": [self.ecus[target]["request_id"], self.ecus[target]["response_id"]]}
        FrameFault.parse({"kind": kind, **_without_seed(parameters)})
        return self.gate_of(target).call("fault", **{"kind": kind, **ids, **parameters})


def check(fault: Fault, topology: Topology, options: BenchOptions) -> None:
    """Make sure, before anything is started, that a bench could set that fault of frames or that load.

    Raises:
        WrongUsage: it could not.
    """
    bus_by_ecu = {name: entry.bus for name, entry in topology.ecus.items()}
    if fault.kind == LOAD_KIND:
        _loadable_bus(fault.ecu, topology.buses, bus_by_ecu)
        Load.parse(_without_seed(fault.parameters))
    else:
        _gated_bus(fault.ecu, gated_buses(topology, options), bus_by_ecu)
        FrameFault.parse({"kind": fault.kind, **_without_seed(fault.parameters)})


def _gated_bus(target: str, gated: Collection[str], bus_by_ecu: Mapping[str, str]) -> str:
    """Return the bus with a gate that a target means: a bus, an ECU's bus, or the only one.

    Raises:
        WrongUsage: the gate does not exist.
    """
    if not gated:
        raise WrongUsage(
            f"{target}: faults of frames need a frame gate: start the bench with --frame-gate (make up ARGS=--frame-gate)"
        )
    bus = bus_by_ecu.get(target, target)
    if target == ANY_BUS and len(gated) == 1:
        bus = next(iter(gated))
    if bus not in gated:
        raise UnknownName("ECU or bus with a frame gate", target, [*bus_by_ecu, *gated])
    return bus


def _loadable_bus(target: str, buses: Collection[str], bus_by_ecu: Mapping[str, str]) -> str:
    """Return the bus that a load's target means: a bus by name, or the only one.

    Raises:
        WrongUsage: the bus does not exist, or there are several and none is named.
    """
    if target in buses:
        return target
    if target == ANY_BUS and len(buses) == 1:
        return next(iter(buses))
    if target == ANY_BUS:
        raise WrongUsage(f"this bench has several buses; name one of them: {', '.join(buses) or 'none'}")
    if target in bus_by_ecu:
        raise WrongUsage(f"{target} is an ECU, and a load is of a bus: name its bus, {bus_by_ecu[target]}")
    raise UnknownName("bus", target, buses, where="in this bench")


def _without_seed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != "seed"}
