"""The ECUs of a running bench: control ports, power, and what each says of itself.

Decides whom to ask: a simulator by its control port, a real board over UDS (``launcher.boards``). A board with a fault injector
of its own that speaks the control port's protocol is reached like a simulator for faults, and never asked for its state.
"""

from __future__ import annotations

import time
from typing import Any, Final

from otabench.bench.errors import EndpointError, UnknownName, WrongUsage
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher import bus_faults, power
from otabench.bench.launcher.boards import BoardFacts
from otabench.bench.launcher.power import PowerDriver
from otabench.bench.launcher.processes import BenchProcesses
from otabench.bench.launcher.specs import ProcessSetup
from otabench.bench.topology.model import Topology

_READ_AFTER_JOB_S: Final = 5.0
_LOOK_INTERVAL_S: Final = 0.05


class BenchEcus(BenchProcesses):
    """Part of ``launcher.bench.Bench``."""

    topology: Topology
    setup: ProcessSetup
    boards: BoardFacts

    def ecu(self, name: str) -> ControlPort:
        """Return the control port of an ECU.

        Raises:
            WrongUsage: there is no such ECU, or it is a board without a fault injector.
        """
        port = self.setup.ports.control.get(name)
        if port is None:
            known = ", ".join(self.setup.ports.control)
            what = "is a board without a control port" if name in self.topology.ecus else "is no ECU of this bench"
            raise WrongUsage(f"ECU {name!r} {what}; with one are: {known or 'none'}")
        return ControlPort(name, port)

    def bus_load(self, bus: str = bus_faults.ANY_BUS) -> ControlPort:
        """Other traffic on a bus: ``bench.bus_load().fault("load", share=60)``, ``.state()``, ``.clear()``.

        Raises:
            WrongUsage: there is no such bus, or several and none is named.
        """
        return bus_faults.BusPorts.of(self.setup.endpoints()).load_of(bus)

    def power(self, name: str) -> PowerDriver:
        """Return the driver of an ECU's supply.

        Raises:
            WrongUsage: there is no such ECU.
        """
        if name not in self.topology.ecus:
            raise UnknownName("ECU", name, self.topology.ecus)
        port = self.ecu(name) if name in self.setup.ports.control else None
        return power.driver(name, self.topology.ecus[name], port)

    def ecu_states(self, *, since_ns: int = 0) -> dict[str, dict[str, Any]]:
        """State of every ECU that answers: by its control port, or as a board told the gateway last.

        Args:
            since_ns: boards whose last reading is older (monotonic clock) are left out.
        """
        told = self.boards.states(since_ns=since_ns) if self.topology.boards() else {}
        states = {}
        for name, entry in self.topology.ecus.items():
            if entry.kind == "board":
                if name in told:
                    states[name] = told[name]
                continue
            try:
                states[name] = self.ecu(name).state()
            except EndpointError:
                continue
        return states

    def settled_ecu_states(self, *, since_ns: int) -> dict[str, dict[str, Any]]:
        """Return the same, once every board was read after that moment; those that were not are left out."""
        deadline = time.monotonic() + _READ_AFTER_JOB_S
        while True:
            states = self.ecu_states(since_ns=since_ns)
            if states.keys() >= set(self.topology.boards()) or time.monotonic() > deadline:
                return states
            time.sleep(_LOOK_INTERVAL_S)
