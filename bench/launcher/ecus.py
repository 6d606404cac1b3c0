"""The ECUs of a running bench: their control ports, their power, and the state that each reports.

A simulator reports its state by its control port, a real board over UDS (``launcher.boards``). A board may have a fault injector
of its own that speaks the protocol of the control port: faults are set there as on a simulator, but its state is never read there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError, UnknownName, WrongUsage
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher import power
from otabench.bench.launcher.boards import BoardFacts
from otabench.bench.launcher.power import NotedPower, PowerDriver
from otabench.bench.topology.model import Topology

_READ_AFTER_JOB_S: Final = 5.0
"""How long to wait for a reading of every board after a job. A board that is away must not delay the report for longer."""
_POLL_INTERVAL_S: Final = 0.05


class Ecus:
    """The ECUs of one bench.

    Args:
        topology: the bench file's contents.
        control_ports: port number by ECU, of simulators and of boards with a fault injector.
        control_token: the token of the simulators' control ports. A board's fault injector does not belong to the run and takes no token.
        boards: the readings of the boards.

    Attributes:
        boards: the readings of the boards.
        switched_off: ECUs that are off because this bench switched them off. A board without power cannot be told apart from a
            board that does not answer, so this is the only place that holds it.
    """

    def __init__(
        self, topology: Topology, *, control_ports: Mapping[str, int], control_token: str, boards: BoardFacts
    ) -> None:
        self.boards = boards
        self.switched_off: set[str] = set()
        self._topology = topology
        self._control_ports = control_ports
        self._control_token = control_token

    def control_port(self, name: str) -> ControlPort:
        """Return the control port of an ECU.

        Raises:
            UnknownName: the ECU does not exist.
            WrongUsage: it is a board, which has no control port.
        """
        port = self._control_ports.get(name)
        if port is None:
            if name not in self._topology.ecus:
                raise UnknownName("ECU", name, self._topology.ecus, where="in this bench")
            known = ", ".join(self._control_ports)
            raise WrongUsage(f"ECU {name!r} is a board without a control port; with one are: {known or 'none'}")
        # A board's own fault injector is not a process of this run, so it does not have the token.
        return ControlPort(name, port, token=self._control_token if name in self._topology.simulated() else "")

    def power(self, name: str) -> PowerDriver:
        """Return the driver of an ECU's supply; ``switched_off`` follows what it does.

        Raises:
            UnknownName: the ECU does not exist.
        """
        if name not in self._topology.ecus:
            raise UnknownName("ECU", name, self._topology.ecus, where="in this bench")
        port = self.control_port(name) if name in self._control_ports else None
        driver = power.driver(name, self._topology.ecus[name], port, lab=self._topology.lab)
        return NotedPower(name, driver, self.switched_off)

    def states(self, *, since_ns: int = 0) -> dict[str, dict[str, Any]]:
        """Return the state of every ECU that answers: a simulator's from its control port, a board's from its last reading.

        Args:
            since_ns: boards whose last reading is older (monotonic clock) are left out.
        """
        boards = self.boards.states(since_ns=since_ns) if self._topology.boards() else {}
        states = {}
        for name, entry in self._topology.ecus.items():
            if entry.kind == "board":
                if name in boards:
                    states[name] = boards[name]
                continue
            try:
                states[name] = self.control_port(name).state()
            except EndpointError:
                continue
        return states

    def settled_states(self, *, since_ns: int) -> dict[str, dict[str, Any]]:
        """Return ``states`` once every board was read after that moment; boards that were not read in time are left out."""
        deadline = Deadline(_READ_AFTER_JOB_S)
        while True:
            states = self.states(since_ns=since_ns)
            if states.keys() >= set(self._topology.boards()) or deadline.has_passed():
                return states
            deadline.pause(_POLL_INTERVAL_S)
