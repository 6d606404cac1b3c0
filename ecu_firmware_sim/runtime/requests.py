"""Serving the tester's requests, at once or as a pending operation, unless a fault disturbs them; and S3 between them."""

from __future__ import annotations

import time
from typing import Final

from otabench.ecu_firmware_sim import unforeseen
from otabench.ecu_firmware_sim.bus.connection import Connection
from otabench.ecu_firmware_sim.bus.transport import Received
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.faults import FaultKind, Faults
from otabench.ecu_firmware_sim.runtime.lifecycle import Lifecycle
from otabench.ecu_firmware_sim.runtime.operations import PendingOperations
from otabench.ecu_firmware_sim.uds.codes import Nrc, Sid, negative
from otabench.ecu_firmware_sim.uds.pending import PendingOperation
from otabench.ecu_firmware_sim.uds.server import PendingResponse, UdsServer

SINGLE_FRAME_BYTES: Final = 7
"""A longer request may have come in several frames."""


class Requests:
    """Requests to one ECU. All methods run on its loop. ``ecu``: its name, for messages."""

    def __init__(
        self, ecu: str, faults: Faults, *, connection: Connection, operations: PendingOperations, life: Lifecycle
    ) -> None:
        self._ecu = ecu
        self._faults = faults
        self._connection = connection
        self._operations = operations
        self._life = life

    def tick(self, server: UdsServer, received: Received | None) -> None:
        """End the session by S3, unless a request came or is still coming whose first frame was in time."""
        now_s = time.monotonic()
        if server.next_deadline_s is None or now_s < server.next_deadline_s:
            return
        # The request is handled after this: if it came in several frames, its first one may have come before S3 was over.
        came_in_parts = received is not None and len(received[0]) > SINGLE_FRAME_BYTES
        server.tick(now_s, receiving=came_in_parts or self._connection.is_receiving())

    def serve(self, server: UdsServer, request: bytes, *, functional: bool) -> None:
        """Serve one request. Raises PowerLost, TransportDown."""
        if self._disturb(server, request):
            return
        # PowerLost passes: it is the fate of the ECU, not a mistake in a service.
        try:
            answer = server.handle(request, functional=functional, now_s=time.monotonic())
        except PowerLost:
            raise
        except Exception as error:  # noqa: BLE001 - the ECU goes on
            unforeseen.report(error, ecu=self._ecu, doing=f"request {request[:16].hex(' ')}")
            answer = server.reject(request, now_s=time.monotonic())
        if isinstance(answer, PendingResponse):
            self._operations.start(answer)
            # Work that has ended within P2 is answered now, and not in the next turn of the loop.
            self.finish_pending()
            return
        if answer is not None:
            self._connection.send(answer)
        self._life.after_response(server)

    def finish_pending(self) -> None:
        """Send the response of a pending operation whose work has ended. Raises PowerLost, TransportDown."""
        operation = self._operations.take_ended()
        if operation is None:
            return
        response = operation.pending.final(self._result_of(operation), announced=operation.announced)
        # The power may have been cut by the operation itself.
        server = self._life.server
        if server is None:
            return
        if response is not None:
            self._connection.send(response)
        server.completed(now_s=time.monotonic())
        self._life.after_response(server)

    def _disturb(self, server: UdsServer, request: bytes) -> bool:
        """Apply the faults to a request. Return True if it must not be served."""
        # Before the server: a request that gets no response by a fault must not change its state either.
        if self._faults.act(FaultKind.SILENT) is not None:
            return True
        fault = self._faults.act(FaultKind.NRC, service=request[0]) if request else None
        if fault is not None:
            self._connection.send(negative(request[0], int(fault.values["nrc"])))
            return True
        cycle, transfer = self._faults.find(FaultKind.POWER_CYCLE_AT), server.dialogue.transfer
        if cycle is None or transfer is None or request[0] != Sid.TRANSFER_DATA:
            return False
        arrived = transfer.download.received_bytes + len(request) - 2  # without SID and block sequence counter
        if arrived < cycle.values["bytes"]:
            return False
        self._faults.drop(FaultKind.POWER_CYCLE_AT)
        self._life.switch_off(f"power-cycle-at: {arrived} bytes had arrived", off_s=float(cycle.values["off_s"]))
        return True

    def _result_of(self, operation: PendingOperation) -> bytes:
        try:
            return operation.result()
        except PowerLost:
            raise
        except Exception as error:  # noqa: BLE001 - the ECU goes on
            sid = operation.pending.sid
            unforeseen.report(error, ecu=self._ecu, doing=f"service {sid:02X}")
            return negative(sid, Nrc.GENERAL_REJECT)
