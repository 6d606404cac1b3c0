"""Announce committed changes to the trace, and to clients that watch a campaign.

* An announcement never fails a request and never delays it.
* All methods run on the event loop's thread.

docs/contracts.md describes the trace. Messages to the event plane are in the database (``outbox``); here its sender is only notified.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otabench.cloud.campaigns.check_in import CheckInOutcome
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.trust.director import SignedManifest
from otabench.proto import ota_pb2
from otabench.proto.trace import TraceWriter

_log = logging.getLogger(__name__)


class ChangedJobs:
    """The jobs of a campaign that have changed since the last ``take``. ``event`` is set while there are some."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._job_ids: set[str] = set()
        self._is_partial = True

    def add(self, job_id: str | None) -> None:
        """Note a change. None: any job of the campaign may have changed."""
        if job_id is None:
            self._is_partial = False
        else:
            self._job_ids.add(job_id)
        self.event.set()

    def take(self) -> tuple[set[str], bool]:
        """Return the jobs, and whether no others have changed."""
        taken = self._job_ids, self._is_partial
        self._job_ids, self._is_partial = set(), True
        self.event.clear()
        return taken


class AllChanges:
    """What has changed in any campaign since the last ``take``. ``event`` is set while there is something."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._changes: dict[str, set[str | None]] = {}

    def add(self, campaign_id: str, job_id: str | None) -> None:
        """Note a change. None: any job of the campaign may have changed."""
        self._changes.setdefault(campaign_id, set()).add(job_id)
        self.event.set()

    def take(self) -> dict[str, set[str | None]]:
        """Return the jobs by campaign."""
        taken, self._changes = self._changes, {}
        self.event.clear()
        return taken


class Announcer:
    """The announcements of one control plane. ``notify_outbox`` is called after messages were added to the outbox."""

    def __init__(self, *, trace: Path | None, notify_outbox: Callable[[], None]) -> None:
        # A writer has one component's name, so each component needs its own writer.
        self._control = TraceWriter(trace, component="cloud.control")
        self._orchestrator = TraceWriter(trace, component="cloud.orchestrator")
        self._director = TraceWriter(trace, component="cloud.director")
        self.notify_outbox = notify_outbox
        self._watchers: dict[str, set[ChangedJobs]] = {}
        self._followers: set[AllChanges] = set()

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
            self.campaign_changed(outcome.campaign_id, job_id=outcome.job_id)

    def report_dropped(self, vin: str, reason: str) -> None:
        """Announce that a version report of a vehicle was dropped."""
        _log.warning("vehicle %s: a version report is dropped: %s", vin, reason)
        _emit(self._control, "vehicle.report_dropped", vin=vin, reason=reason)

    def attack_reported(self, vin: str, ecu: str, attack: str) -> None:
        """Announce that an ECU has signed that it refused something."""
        _log.warning("vehicle %s: %s reports what it refused: %s", vin, ecu, attack)
        _emit(self._control, "vehicle.attack_reported", vin=vin, about=ecu, attack=attack)

    def job_moved(self, transition: Transition) -> None:
        """Announce a transition of a job."""
        _emit(
            self._control,
            "job.state",
            vin=transition.vin,
            job_id=transition.job_id,
            **{"from": transition.before, "to": transition.after, "reason": transition.reason},
        )
        self.notify_outbox()
        self.campaign_changed(transition.campaign_id, job_id=transition.job_id)

    def campaign_changed(self, campaign_id: str, *, job_id: str | None = None) -> None:
        """Wake the watchers of the campaign. ``job_id``: the job that has changed, if it is one."""
        self.changed_elsewhere(campaign_id, job_id=job_id)
        for follower in self._followers:
            follower.add(campaign_id, job_id)

    def changed_elsewhere(self, campaign_id: str, *, job_id: str | None) -> None:
        """Wake the watchers of the campaign, which another control plane has changed."""
        for watcher in self._watchers.get(campaign_id, ()):
            watcher.add(job_id)

    @contextmanager
    def following(self) -> Iterator[AllChanges]:
        """Yield the changes that this control plane announces while the block runs, of all campaigns."""
        changes = AllChanges()
        self._followers.add(changes)
        try:
            yield changes
        finally:
            self._followers.discard(changes)

    @contextmanager
    def watching(self, campaign_id: str) -> Iterator[ChangedJobs]:
        """Yield the jobs of the campaign that change while the block runs."""
        changed = ChangedJobs()
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


def _emit(writer: TraceWriter, event: str, *, vin: str | None = None, job_id: str | None = None, **data: Any) -> None:
    """Write one event. If the trace cannot be written (disk full), only log a warning: the change itself is committed."""
    try:
        writer.emit(event, vin=vin, job_id=job_id, **data)
    except OSError as error:
        _log.warning("trace: %s is not written: %s", event, error)
