"""Who learns of a change once it is committed: the trace, the event plane, and those who watch a campaign.

Decides which event goes where and what stands in it; nothing here can fail a request or delay it. Called on the event
loop's thread only.
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
    """What the event plane offers: takes a message at once, sends it when it can."""

    def publish(self, topic: str, payload: bytes) -> None: ...


class Announcer:
    """Tells of changes."""

    def __init__(self, *, trace: Path | None, publisher: Publisher) -> None:
        self._control = TraceWriter(trace, component="cloud.control")
        self._orchestrator = TraceWriter(trace, component="cloud.orchestrator")
        self._director = TraceWriter(trace, component="cloud.director")
        self._publisher = publisher
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def campaign_created(self, campaign: ota_pb2.Campaign, *, images: list[str]) -> None:
        """A campaign and its jobs are made."""
        _emit(
            self._orchestrator,
            "campaign.created",
            campaign_id=campaign.campaign_id,
            name=campaign.name,
            vins=[job.vin for job in campaign.jobs],
            images=images,
        )

    def manifest_signed(self, signed: SignedManifest, *, vin: str, job_id: str, patches: dict[str, int]) -> None:
        """A manifest version of a vehicle is made; ``patches``: bytes by hardware id."""
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
        """A vehicle checked in and was answered."""
        decision = ota_pb2.CheckInResponse.Decision.Name(outcome.decision).removeprefix("DECISION_")
        versions = {ecu.ecu: ecu.software_version for ecu in request.ecus}
        _emit(
            self._control,
            "vehicle.check_in",
            vin=request.vin,
            job_id=outcome.job_id or None,
            decision=decision,
            reason=outcome.reason,
            versions=versions,
        )
        if outcome.campaign_id:
            self.campaign_changed(outcome.campaign_id)

    def job_moved(self, transition: Transition) -> None:
        """A job is in another state."""
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
        """Wakes the vehicle."""
        self._publish(vin, "update-available", {"vin": vin, "job_id": job_id, "campaign_id": campaign_id})

    def campaign_changed(self, campaign_id: str) -> None:
        """Wakes those who watch the campaign."""
        for watcher in self._watchers.get(campaign_id, ()):
            watcher.set()

    @contextmanager
    def watching(self, campaign_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of the campaign, while the block runs."""
        changed = asyncio.Event()
        watchers = self._watchers.setdefault(campaign_id, set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers:
                self._watchers.pop(campaign_id, None)

    def close(self) -> None:
        """Closes the trace."""
        for writer in (self._control, self._orchestrator, self._director):
            writer.close()

    def _publish(self, vin: str, leaf: str, fields: dict[str, str]) -> None:
        self._publisher.publish(f"{TOPIC_ROOT}/{vin}/{leaf}", json.dumps(fields, separators=(",", ":")).encode())


def _emit(writer: TraceWriter, event: str, *, vin: str | None = None, job_id: str | None = None, **data: Any) -> None:
    """A trace that cannot be written (disk full) is a warning; what it tells of is done already."""
    try:
        writer.emit(event, vin=vin, job_id=job_id, **data)
    except OSError as error:
        _log.warning("trace: %s is not written: %s", event, error)
