"""The load process: some of the fleet's vehicles, as tasks. ``python -m otabench.bench.fleet.load ORDER RESULT``

It reads an ``Order`` from a JSON file, prints "ready" once the vehicles run, and writes a ``Result`` to another file when they have ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from otabench.bench.backoff import Backoff
from otabench.bench.deadline import Deadline
from otabench.bench.fleet import certificates
from otabench.bench.fleet.calls import REGISTER, Connection, Refused
from otabench.bench.fleet.judgement import VehicleRecord
from otabench.bench.fleet.measurements import Measurements
from otabench.bench.fleet.plan import Behaviour
from otabench.bench.fleet.vehicle import ECU, HARDWARE_ID, Pace, SimulatedVehicle, serial_of
from otabench.bench.ports import LOOPBACK
from otabench.proto import ota_pb2
from otabench.proto.process_config import TlsConfig

READY: Final = "ready"


@dataclass(frozen=True)
class Order:
    """What a load process does.

    Attributes:
        phase: ``register``, ``check_in`` (every vehicle once) or ``update`` (until every vehicle's job has ended).
        targets: host:port of each control plane.
        authority: the file of the CA's certificate.
        pairs: the file of the vehicles' certificates; in ``register``, of operators.
        behaviours: of this process's vehicles, by VIN.
        at_a_time: connections that are open at the same time.
        seconds: after which the phase ends, whatever is missing.
        work_s, poll_s: see ``vehicle.Pace``.
        mqtt_port: the broker's.
        listeners: the files of the vehicles that listen to the broker, by VIN: certificate and key.
        seed: of all jitter.
    """

    phase: str
    targets: Sequence[str]
    authority: str
    pairs: str
    behaviours: dict[str, str]
    at_a_time: int = 64
    seconds: float = 600.0
    work_s: float = 0.5
    poll_s: float = 2.0
    mqtt_port: int = 0
    listeners: dict[str, list[str]] = field(default_factory=dict)
    seed: int = 0


@dataclass
class Result:
    """What a load process measured. ``records`` and ``measured`` are those of its vehicles."""

    measured: Measurements
    records: list[VehicleRecord]
    cpu_s: float
    memory_bytes: int

    @classmethod
    def read(cls, path: Path) -> Result:
        """Return what ``write`` has written."""
        fields: dict[str, Any] = json.loads(path.read_bytes())
        records = [VehicleRecord(**each) for each in fields.pop("records")]
        return cls(measured=Measurements(**fields.pop("measured")), records=records, **fields)

    def write(self, path: Path) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(asdict(self), separators=(",", ":")), encoding="utf-8")


class _Fleet:
    """The vehicles of one process, and what they measure."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._authority = Path(order.authority).read_bytes()
        self._pairs = certificates.read(Path(order.pairs))
        self._slots = asyncio.Semaphore(order.at_a_time)
        self._patience = Deadline(order.seconds)
        self._turns = itertools.count()
        self.measured = Measurements()
        source = random.Random(order.seed)
        pace = Pace(order.work_s, order.poll_s)
        self.vehicles = [
            SimulatedVehicle(vin, Behaviour(behaviour), pace=pace, source=random.Random(source.random()))
            for vin, behaviour in order.behaviours.items()
        ]

    async def register(self) -> None:
        """Register all vehicles, with some operators at the same time, because each of them has a limit of calls."""
        waiting = iter(self.vehicles)

        async def work(name: str) -> None:
            async with self._connect(name) as connection:
                for vehicle in waiting:
                    vin = vehicle.record.vin
                    ecu = ota_pb2.RegisterVehicleRequest.Ecu(ecu=ECU, serial=serial_of(vin), hardware_id=HARDWARE_ID)
                    await connection.call(REGISTER, ota_pb2.RegisterVehicleRequest(vin=vin, ecus=[ecu]))

        await asyncio.gather(*(work(name) for name in self._pairs))

    async def check_in(self) -> None:
        """Let every vehicle connect and check in once."""

        async def once(vehicle: SimulatedVehicle) -> None:
            async with self._connect(vehicle.record.vin) as connection:
                await vehicle.check_in(connection)

        await self._gather(once)

    async def update(self) -> None:
        """Let every vehicle wait for its job and run it."""
        by_vin = {vehicle.record.vin: vehicle for vehicle in self.vehicles}
        listening = [
            asyncio.create_task(self._listen(by_vin[vin], *pair)) for vin, pair in self._order.listeners.items()
        ]

        async def once(vehicle: SimulatedVehicle) -> None:
            await vehicle.update(lambda: self._connect(vehicle.record.vin))

        try:
            await self._gather(once)
        finally:
            for task in listening:
                task.cancel()

    async def _gather(self, once: Callable[[SimulatedVehicle], Awaitable[None]]) -> None:
        async def guarded(vehicle: SimulatedVehicle) -> None:
            try:
                async with asyncio.timeout(self._patience.remaining_s()):
                    await once(vehicle)
            except (Refused, TimeoutError) as error:
                vehicle.record.refusal = str(error) or "its time ran out"

        await asyncio.gather(*(guarded(vehicle) for vehicle in self.vehicles))

    @asynccontextmanager
    async def _connect(self, name: str) -> AsyncIterator[Connection]:
        async with self._slots:
            # The vehicles are spread over the control planes; each goes on to the others if its own is away.
            turn = next(self._turns) % len(self._order.targets)
            targets = [*self._order.targets[turn:], *self._order.targets[:turn]]
            connection = Connection(
                targets, self._authority, self._pairs[name], measured=self.measured, patience=self._patience
            )
            async with connection:
                yield connection

    async def _listen(self, vehicle: SimulatedVehicle, certificate: str, key: str) -> None:
        # The gateway's own listener. Imported here: the other phases have no broker.
        from otabench.bench.gateway.cloud.wakeup import listen

        await listen(
            host=LOOPBACK,
            port=self._order.mqtt_port,
            vin=vehicle.record.vin,
            wake=vehicle.wake.set,
            backoff=Backoff(first_s=0.5, max_s=3.0),
            tls=TlsConfig(ca=Path(self._order.authority), certificate=Path(certificate), key=Path(key)),
        )


async def carry_out(order: Order) -> Result:
    """Carry out the order and return what was measured."""
    fleet = _Fleet(order)
    phases = {"register": fleet.register, "check_in": fleet.check_in, "update": fleet.update}
    print(READY, flush=True)
    began = time.perf_counter()
    await phases[order.phase]()
    fleet.measured.seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Result(
        measured=fleet.measured,
        records=[vehicle.record for vehicle in fleet.vehicles],
        cpu_s=used.ru_utime + used.ru_stime,
        memory_bytes=used.ru_maxrss * 1024,
    )


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(carry_out(Order(**json.loads(Path(sys.argv[1]).read_bytes())))).write(Path(sys.argv[2]))
