"""The vehicle's version report: collect what the ECUs sign, add what the gateway has read of the others, and sign all of it.

Rules:

* One report for each nonce. The cloud takes two different reports for one nonce as a sign that two gateways have the vehicle's key.
* ECUs are asked at most once for each reading of their identities, and at the end of a job: other testers use the bus, too.
* If a report cannot be made, the check-in is sent without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.errors import StartError
from otabench.bench.gateway.jobs.identities import Identities
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.vehicle import Vehicle
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto import private_files
from otabench.proto.trace import TraceWriter
from otabench.proto.version_report import EcuEntry, VehicleVersionReport, parse_private_key, seal

_log: Final = logging.getLogger("gateway.reports")


class VersionReports:
    """The maker of one vehicle's version reports.

    Args:
        vin: the vehicle.
        key: the gateway's; None: it cannot sign, and every report is empty.
        vehicle: the ECUs.
        worker: the thread on which ECUs are read.
        identities: what the gateway has read itself.
        trace: receives each report that is made, and each that cannot be.
    """

    def __init__(
        self,
        *,
        vin: str,
        key: Ed25519PrivateKey | None,
        vehicle: Vehicle,
        worker: Worker,
        identities: Identities,
        trace: TraceWriter,
    ) -> None:
        self._vin = vin
        self._key = key
        self._vehicle = vehicle
        self._worker = worker
        self._identities = identities
        self._trace = trace
        self._lock = asyncio.Lock()
        self._nonce = b""
        self._sealed = b""
        self._reported_reading = 0

    @classmethod
    def of(
        cls, config: GatewayConfig, *, vehicle: Vehicle, worker: Worker, identities: Identities, trace: TraceWriter
    ) -> VersionReports:
        """Return those of a gateway.

        Raises:
            StartError: its key cannot be used.
        """
        key = load_key(config.report_key)
        return cls(vin=config.vin, key=key, vehicle=vehicle, worker=worker, identities=identities, trace=trace)

    @property
    def can_sign(self) -> bool:
        """Whether the gateway has a key."""
        return self._key is not None

    @property
    def identities(self) -> Mapping[str, EcuIdentity]:
        """What the gateway has read of the ECUs itself."""
        return self._identities.known

    async def for_check_in(self, nonce: bytes) -> bytes:
        """Return a report if the ECUs were read again since the last one; empty if they were not, or if it cannot be made."""
        if self._identities.readings == self._reported_reading:
            return b""
        return await self.make(nonce)

    async def make(self, nonce: bytes, *, job_id: str | None = None) -> bytes:
        """Return the report for a nonce; empty if the cloud gave none, or if it cannot be made. ``job_id``: the job whose end it proves."""
        if self._key is None or not nonce:
            return b""
        async with self._lock:
            if nonce != self._nonce:
                reading = self._identities.readings
                try:
                    own = await self._worker.submit(self._vehicle.version_reports, nonce)
                    sealed = self._seal(nonce, own, self._key)
                # ValueError: an ECU states something that does not fit a report, such as a serial number of a thousand characters.
                except (FlashError, ValueError) as error:
                    _log.warning("no version report: %s", error)
                    self._trace.emit("vehicle.report_failed", job_id=job_id, reason=" ".join(str(error).split()))
                    return b""
                self._nonce, self._sealed, self._reported_reading = nonce, sealed, reading
                others = sorted(self._identities.known.keys() - own.keys())
                self._trace.emit("vehicle.report", job_id=job_id, signed=sorted(own), reported_by_gateway=others)
            return self._sealed

    def _seal(self, nonce: bytes, own: Mapping[str, bytes], key: Ed25519PrivateKey) -> bytes:
        entries = tuple(
            EcuEntry(
                serial=identity.serial,
                hardware_id=identity.hardware_id,
                version=identity.software_version,
                report=own.get(name, b"").hex(),
            )
            for name, identity in self._identities.known.items()
        )
        primary = key.public_key().public_bytes_raw().hex()
        return seal(VehicleVersionReport(vin=self._vin, primary=primary, nonce=nonce.hex(), ecus=entries), key)


def load_key(path: Path | None) -> Ed25519PrivateKey | None:
    """Return the gateway's key for version reports.

    Raises:
        StartError: the file cannot be used.
    """
    if path is None:
        return None
    try:
        return parse_private_key(private_files.read(path))
    except private_files.PrivateFileError as error:
        raise StartError(f"report_key {error}") from error
    except ValueError as error:
        raise StartError(f"report_key {path}: not an Ed25519 private key as 64 hexadecimal digits") from error
