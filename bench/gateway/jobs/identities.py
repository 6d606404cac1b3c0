"""The last known identities of the vehicle's ECUs.

The vehicle reads them on the worker's thread. Identities that are too old are not reported to the cloud.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from otabench.bench.gateway.hmi.dashboard import Dashboard
from otabench.bench.gateway.jobs.worker import Worker
from otabench.bench.gateway.vehicle import Vehicle
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.trace import TraceWriter

_FRESH_S: Final = 60.0
"""Age at which an idle gateway reads its ECUs again. It does not read them at every poll, because other testers use the bus, too."""


class Identities:
    """The last identity of every ECU.

    Attributes:
        known: the identities, by the ECU's name.
        readings: how often they were read.
    """

    def __init__(self, *, vehicle: Vehicle, worker: Worker, dashboard: Dashboard, trace: TraceWriter) -> None:
        self._vehicle = vehicle
        self._worker = worker
        self._dashboard = dashboard
        self._trace = trace
        self._read_at_s: float | None = None
        self.known: Mapping[str, EcuIdentity] = {}
        self.readings = 0

    @property
    def is_fresh(self) -> bool:
        """Whether the last reading is recent enough to be reported to the cloud."""
        return self._read_at_s is not None and time.monotonic() - self._read_at_s < _FRESH_S

    async def refresh(self) -> Mapping[str, EcuIdentity]:
        """Read all ECUs.

        Raises:
            FlashError: an ECU does not answer, or its response does not fit.
        """
        self.record(await self._worker.submit(self._vehicle.identify))
        return self.known

    def record(self, identities: Mapping[str, EcuIdentity]) -> None:
        """Record identities that another call has read."""
        # Keep the identities of ECUs that this reading did not include: confirming and reverting read only the ECUs of the job.
        self.known = {**self.known, **identities}
        self._read_at_s = time.monotonic()
        self.readings += 1
        self._dashboard.show_identities(self.known)
        for name, identity in identities.items():
            self._trace.emit("ecu.identity", ecu=name, **_event_fields(identity))

    def forget(self) -> None:
        """Mark the identities as outdated, so that they are read again before the next report."""
        self._read_at_s = None


def _event_fields(identity: EcuIdentity) -> dict[str, Any]:
    """Return the fields of an ``ecu.identity`` event (docs/contracts.md)."""
    return {
        "serial": identity.serial,
        "hardware_id": identity.hardware_id,
        "software_version": identity.software_version,
        "rxswin": identity.rxswin,
        "active_slot": identity.active_slot,
        "boots_left": identity.boots_left,
        "slots": [
            {"state": str(slot.state), "version": slot.version, "security_counter": slot.security_counter}
            for slot in identity.slots
        ],
    }
