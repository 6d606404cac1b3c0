"""A simulated vehicle: it checks in, takes its job, reports the gateway's own states, and misbehaves if it is told to.

The states come from the gateway's table (``gateway.jobs.states``). Download and flashing are only time. The vehicle has one ECU and no key
for version reports, so the cloud takes its word.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.fleet.calls import CHECK_IN, GET_MANIFEST, UPDATE_STATUS, Answer, Connection, Method, Refused
from otabench.bench.fleet.judgement import VehicleRecord
from otabench.bench.fleet.plan import Behaviour
from otabench.bench.gateway.jobs.states import Event, next_state
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, is_final, to_wire
from otabench.proto.message_limits import MAX_VEHICLE_MESSAGE_BYTES

ECU: Final = "engine"
HARDWARE_ID: Final = "engine-mcu-a"
OLD_VERSION: Final = "1.0.0"
NEW_VERSION: Final = "2.0.0"
_PROGRESS_REPORTS: Final = 2
"""In each of the states that take time."""
_IMAGE_BYTES: Final = 1 << 20
_SUCCESS: Final = (
    Event.ADOPTED,
    Event.MANIFEST_ACCEPTED,
    Event.APPROVED,
    Event.DOWNLOADED,
    Event.STAGED,
    Event.ACTIVATED,
    Event.CONFIRMED,
)
_TAKES_TIME: Final = {JobState.DOWNLOADING: "transferring", JobState.INSTALLING: "transferring"}
"""The phase of the ECU's progress."""


@dataclass(frozen=True)
class Pace:
    """Times of a vehicle.

    Attributes:
        work_s: how long download and flashing take, each.
        poll_s: between two check-ins of a vehicle without a job.
    """

    work_s: float
    poll_s: float


def states_of(behaviour: Behaviour) -> Iterator[JobState]:
    """Yield the states that a vehicle reports, in their order."""
    state = JobState.CREATED
    for event in _SUCCESS:
        fails = behaviour is Behaviour.FAIL and state is JobState.INSTALLING
        state = next_state(state, Event.UNABLE if fails else event)
        yield state
        if is_final(state) or (behaviour is Behaviour.VANISH and state is JobState.DOWNLOADING):
            return


def ecu_report(vin: str, version: str) -> ota_pb2.EcuReport:
    """Return the report of the vehicle's ECU."""
    counter = int(version.partition(".")[0])
    return ota_pb2.EcuReport(
        ecu=ECU,
        serial=serial_of(vin),
        hardware_id=HARDWARE_ID,
        software_version=version,
        active_slot=0,
        slots=[
            ota_pb2.Slot(state=ota_pb2.SLOT_STATE_CONFIRMED, version=version, security_counter=counter),
            ota_pb2.Slot(state=ota_pb2.SLOT_STATE_EMPTY),
        ],
    )


def serial_of(vin: str) -> str:
    """Return the serial number of the vehicle's ECU."""
    return f"{vin}-{ECU}"


class SimulatedVehicle:
    """One vehicle of the fleet.

    Args:
        vin: the vehicle.
        behaviour: how it misbehaves.
        pace: its times.
        source: of its jitter.
    """

    def __init__(self, vin: str, behaviour: Behaviour, *, pace: Pace, source: random.Random) -> None:
        self.record = VehicleRecord(vin)
        self.wake = asyncio.Event()
        self._behaviour, self._pace, self._source = behaviour, pace, source

    async def check_in(self, connection: Connection) -> ota_pb2.CheckInResponse:
        """Check in, and note the job that is offered."""
        vin = self.record.vin
        request = ota_pb2.CheckInRequest(vin=vin, ecus=[ecu_report(vin, OLD_VERSION)])
        answer = await self._send(connection, CHECK_IN, request)
        offers = answer.decision == ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
        if offers and answer.job_id not in self.record.offered:
            self.record.offered.append(answer.job_id)
        return answer

    async def update(self, connect: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        """Poll until there is a job, and run it.

        Args:
            connect: opens a connection, which may have to wait for its turn.

        Raises:
            Refused: the cloud refuses a check-in.
            TimeoutError: the cloud does not answer for too long.
        """
        # Not all at the same moment.
        await self._wait(self._source.uniform(0.0, self._pace.poll_s))
        while True:
            self.wake.clear()
            async with connect() as connection:
                if self._behaviour is Behaviour.GIANT and not self.record.offered:
                    await self._send_giant(connection)
                await self.check_in(connection)
                if self.record.offered:
                    await self._run_job(connection, self.record.offered[-1])
                    return
            await self._wait(self._pace.poll_s * self._source.uniform(0.9, 1.1))

    async def _wait(self, seconds: float) -> None:
        """Wait until the time is over, or a message wakes the vehicle."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return

    async def _run_job(self, connection: Connection, job_id: str) -> None:
        try:
            request = ota_pb2.GetManifestRequest(vin=self.record.vin, job_id=job_id)
            await self._send(connection, GET_MANIFEST, request)
            for number, state in enumerate(states_of(self._behaviour), start=1):
                await self._report(connection, job_id, state, number)
                if state in _TAKES_TIME:
                    await self._work(connection, job_id, state, number)
        except Refused as error:
            self.record.refusal = str(error)

    async def _work(self, connection: Connection, job_id: str, state: JobState, number: int) -> None:
        for part in range(1, _PROGRESS_REPORTS + 1):
            await asyncio.sleep(self._pace.work_s / _PROGRESS_REPORTS * self._source.uniform(0.5, 1.5))
            progress = ota_pb2.EcuProgress(
                ecu=ECU,
                phase=_TAKES_TIME[state],
                bytes_done=_IMAGE_BYTES * part // _PROGRESS_REPORTS,
                bytes_total=_IMAGE_BYTES,
            )
            await self._report(connection, job_id, state, number, progress=progress)

    async def _report(
        self,
        connection: Connection,
        job_id: str,
        state: JobState,
        number: int,
        *,
        progress: ota_pb2.EcuProgress | None = None,
    ) -> None:
        vin = self.record.vin
        request = ota_pb2.UpdateStatusRequest(vin=vin, job_id=job_id, state=to_wire(state), transition_seq=number)
        if progress is not None:
            request.progress.append(progress)
        if state is JobState.SUCCEEDED:
            request.ecus.append(ecu_report(vin, NEW_VERSION))
        if state is JobState.FAILED:
            request.reason = "simulated: the ECU refuses the image"
        await self._send(connection, UPDATE_STATUS, request)
        self.record.state = str(state)

    async def _send(self, connection: Connection, method: Method[Answer], request: Any) -> Answer:
        if self._behaviour is not Behaviour.DUPLICATE:
            return await connection.call(method, request)
        first, second = await asyncio.gather(connection.call(method, request), connection.call(method, request))
        if method is UPDATE_STATUS and first != second:
            self.record.problem = f"the same report was answered in two ways: {first!r}, {second!r}".replace("\n", " ")
        return first

    async def _send_giant(self, connection: Connection) -> None:
        """Send a message that is too long. It has to be refused."""
        vin = self.record.vin
        request = ota_pb2.CheckInRequest(vin=vin, version_report=bytes(MAX_VEHICLE_MESSAGE_BYTES + 1))
        try:
            await connection.call(CHECK_IN, request)
        except Refused as error:
            if error.status != "INVALID_ARGUMENT":
                self.record.problem = f"a giant message was refused with {error}"
        else:
            self.record.problem = "a giant message was accepted"
