"""Announce committed changes to the trace, to the event plane, and to clients that watch a campaign.

* An announcement never fails a request and never delays it.
* All methods run on the event loop's thread.

docs/contracts.md describes the trace. Vehicles listen to the topics below ``otabench/v1/vehicles/VIN/``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from otabench.cloud.campaigns.check_in import CheckInOutcome
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.trust.director import SignedManifest
from otabench.proto import ota_pb2
from otabench.proto.trace import TraceWriter

_log = logging.getLogger(__name__)

TOPIC_ROOT: Final = "otabench/v1/vehicles"


class Publisher(Protocol):
    """The event plane. It accepts a message at once and sends it when possible."""

    def publish(self, topic: str, payload: bytes) -> None: ...


class Announcer:
    """The announcements of one control plane."""

    def __init__(self, *, trace: Path | None, publisher: Publisher) -> None:
        # A writer has one component's name, so each component needs its own writer.
        self._control = TraceWriter(trace, component="cloud.control")
        self._orchestrator = TraceWriter(trace, component="cloud.orchestrator")
        self._director = TraceWriter(trace, component="cloud.director")
        self._publisher = publisher
        # Every watcher has its own event, so that a client that reads slowly does not delay the others.
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def campaign_created(self, campaign: ota_pb2.Campaign, *, images: list[str]) -> None:
        """Announce a new campaign. Its jobs are announced one by one (``job_moved``)."""
        _emit(
            self._orchestrator,
            "campaign.created",
            campaign_id=campaign.campaign_id,
            name=campaign.name,
            vins=[job.vin for job in campaign.jobs],
            images=images,
        )

    def manifest_signed(self, signed: SignedManifest, *, vin: str, job_id: str, patches: dict[str, int]) -> None:
        """Announce a vehicle's new manifest. ``patches``: the size of each patch in bytes, by hardware id."""
        _emit(
            self._director,
            "manifest.signed",
            vin=vin,
            job_id=job_id,
            version=signed.version,
            expires_at=signed.expires_at,
            patches=patches,
        )

    def checked_in(self, request: ota_pb2.CheckInRequest, outcome: CheckInOutcome) -> None:
        """Announce a check-in and its answer."""
        decision = ota_pb2.CheckInResponse.Decision.Name(outcome.decision).removeprefix("DECISION_")
        versions = {ecu.ecu: ecu.software_version for ecu in request.ecus}
        _emit(
            self._control,
            "vehicle.check_in",
            vin=request.vin,
            job_id=outcome.job_id or None,  # null in the trace, not an empty text
            decision=decision,
            reason=outcome.reason,
            versions=versions,
        )
        if outcome.campaign_id:
            self.campaign_changed(outcome.campaign_id)

    def job_moved(self, transition: Transition) -> None:
        """Announce a transition of a job."""
        _emit(
            self._control,
            "job.state",
            vin=transition.vin,
            job_id=transition.job_id,
            **{"from": transition.before, "to": transition.after, "reason": transition.reason},
        )
        self._publish(
            transition.vin,
            "job",
            {"job_id": transition.job_id, "state": transition.after, "reason": transition.reason},
        )
        self.campaign_changed(transition.campaign_id)

    def update_available(self, *, vin: str, job_id: str, campaign_id: str) -> None:
        """Wake the vehicle, so that it checks in."""
        self._publish(vin, "update-available", {"vin": vin, "job_id": job_id, "campaign_id": campaign_id})

    def campaign_changed(self, campaign_id: str) -> None:
        """Wake the watchers of the campaign."""
        for watcher in self._watchers.get(campaign_id, ()):
            watcher.set()

    @contextmanager
    def watching(self, campaign_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set at every change of the campaign, while the block runs. The waiting caller must clear it."""
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(campaign_id, set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            # Remove the entry, so that campaigns without watchers do not occupy memory.
            if not watchers:
                self._watchers.pop(campaign_id, None)

    def close(self) -> None:
        """Close the trace."""
        for writer in (self._control, self._orchestrator, self._director):
            writer.close()

    def _publish(self, vin: str, leaf: str, fields: dict[str, str]) -> None:
        self._publisher.publish(f"{TOPIC_ROOT}/{vin}/{leaf}", json.dumps(fields, separators=(",", ":")).encode())


def _emit(writer: TraceWriter, event: str, *, vin: str | None = None, job_id: str | None = None, **data: Any) -> None:
    """Write one event. If the trace cannot be written (disk full), only log a warning: the change itself is committed."""
    try:
        writer.emit(event, vin=vin, job_id=job_id, **data)
    except OSError as error:
        _log.warning("trace: %s is not written: %s", event, error)
