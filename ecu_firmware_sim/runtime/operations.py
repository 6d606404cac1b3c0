"""The pending operation of an ECU, from its start to its response. There is at most one: the server answers 21 until it has ended."""

from __future__ import annotations

import time

from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.runtime.deadlines import Deadlines, Due
from otabench.ecu_firmware_sim.uds.pending import PendingOperation
from otabench.ecu_firmware_sim.uds.server import PendingResponse
from otabench.proto.process_config import EcuTiming


class PendingOperations:
    """The pending operations: started here, announced by 78 in time, and returned once they have ended."""

    def __init__(self, timing: EcuTiming, connection: Connection, deadlines: Deadlines) -> None:
        self._timing = timing
        self._connection = connection
        self._deadlines = deadlines
        self._operation: PendingOperation | None = None

    @property
    def is_running(self) -> bool:
        """Whether work is being done on its thread, which may write flash."""
        return self._operation is not None and not self._operation.done

    def start(self, pending: PendingResponse) -> None:
        """Start the work; send 78 if it does not end soon. Raises TransportDown."""
        self._operation = PendingOperation(pending, on_done=self._connection.waker.set)
        # Half of P2: most work ends within it and needs no 78, and the other half is left for the way of the 78.
        if not self._operation.wait(self._timing.p2_server_max_s / 2):
            self.announce()

    def announce(self) -> None:
        """Send 78, and again before P2* is over. Raises TransportDown."""
        operation = self._operation
        # It may have ended since its deadline was set: then the response comes next, and needs no 78 before it.
        if operation is not None and not operation.done:
            operation.announced = True
            # Half of P2*, for the same reason.
            self._deadlines.set(Due.ANNOUNCE, time.monotonic() + self._timing.p2_star_server_max_s / 2)
            self._connection.send(operation.pending.announcement)

    def take_ended(self) -> PendingOperation | None:
        """Return the operation if its work has ended, and forget it."""
        operation = self._operation
        if operation is None or not operation.done:
            return None
        # Forgotten before its result is read, which may raise PowerLost: it must not be found again after that.
        self._operation = None
        self._deadlines.drop(Due.ANNOUNCE)
        return operation

    def abandon(self) -> None:
        """Wait for the work to end, and drop its response.

        A thread cannot be killed, and while it runs, it writes the flash that the next boot reads. Without power it ends at
        its next flash operation.
        """
        if self._operation is not None:
            self._operation.wait(None)
            self._operation = None
