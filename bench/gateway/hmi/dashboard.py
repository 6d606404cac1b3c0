"""The agent's side of the HMI's seam (``gateway.hmi.model``): what the driver sees, and the driver's decisions.

A decision must name the job that is shown, and that job must wait for one. One decision is handled at a time, and it is answered
only once its consequence is on disk (``jobs``). Progress is throttled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.gateway.hmi.endings import ending
from otabench.bench.gateway.hmi.model import (
    Choice,
    Decision,
    DecisionRefused,
    EcuView,
    HistoryEntry,
    HmiState,
    Refusal,
)
from otabench.bench.gateway.store import JobRecord
from otabench.bench.gateway.vehicle import EcuProgress
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.job_states import JobState, is_final

_MIN_INTERVAL_S: Final = 0.1
_MAX_HISTORY: Final = 20
_OF_ONE_JOB: Final[dict[str, Any]] = {
    name: HmiState.model_fields[name].get_default(call_default_factory=True)
    for name in (
        "download_bytes",
        "download_done_bytes",
        "expected_duration_s",
        "duration_min_s",
        "duration_max_s",
        "question",
        "offer",
        "rules",
        "reminders_left",
        "start_from",
        "start_by",
        "is_appointment_missed",
        "release_notes",
        "texts",
        "progress_percent",
        "conditions",
        "is_paused",
        "stops_working",
        "has_no_way_back",
    )
}
"""Fields that the next job must not inherit."""
_CONSENTS: Final = frozenset({Decision.INSTALL, Decision.SCHEDULE})
_ASKED_IN: Final = frozenset({JobState.WAITING_FOR_APPROVAL, JobState.DOWNLOADING})
CANCELABLE: Final = frozenset({JobState.DOWNLOADING, JobState.INSTALLING})
"""States in which the driver may cancel. Activation is the point of no return: from then on the vehicle goes on or goes back by itself."""


@dataclass(frozen=True)
class PendingDecision:
    """A decision that the driver has made; exactly one of the two methods is called."""

    job_id: str
    choice: Choice
    _answer: asyncio.Future[None]

    def taken(self) -> None:
        """Answer that the decision is persisted."""
        if not self._answer.done():
            self._answer.set_result(None)

    def refused(self, why: DecisionRefused) -> None:
        """Answer that the decision came too late."""
        if not self._answer.done():
            self._answer.set_exception(why)


class Dashboard:
    """Implements ``HmiModel``. Used from the event loop's thread. ``signing``: the ECUs that sign version reports."""

    def __init__(
        self,
        *,
        vin: str,
        hardware_ids: Mapping[str, str],
        time_zone: str = "UTC",
        is_kept_parked: bool = False,
        signing: Collection[str] = (),
    ) -> None:
        self._hardware_ids = dict(hardware_ids)
        self._evidence = {
            name: "signed by the ECU" if name in signing else "reported by the gateway" for name in hardware_ids
        }
        self._identities: dict[str, EcuIdentity] = {}
        self._versions: dict[str, tuple[str, str]] = {}
        self._progress: dict[str, EcuProgress] = {}
        self._state = HmiState(seq=1, vin=vin, time_zone=time_zone, is_kept_parked=is_kept_parked)
        self._changed = asyncio.Event()
        self._decisions: asyncio.Queue[PendingDecision] = asyncio.Queue()
        self._pending: PendingDecision | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._soon: dict[str, Any] = {}
        self._cancel: Callable[[str], None] = _ignore
        self._publish()

    # The page's side

    def snapshot(self) -> HmiState:
        """See ``HmiModel.snapshot``."""
        return self._state

    async def changes(self) -> AsyncIterator[HmiState]:
        """See ``HmiModel.changes``."""
        while True:
            changed, state = self._changed, self._state
            yield state
            if self._state is state:
                await changed.wait()

    async def decide(self, job_id: str, choice: Choice) -> None:
        """See ``HmiModel.decide``."""
        self._judge(job_id, choice)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending = PendingDecision(job_id, choice, answer)
        if choice.decision is Decision.CANCEL:
            self._cancel(job_id)
        else:
            self._decisions.put_nowait(self._pending)
        await asyncio.shield(answer)

    def _judge(self, job_id: str, choice: Choice) -> None:
        """Raise DecisionRefused unless the decision is about what is shown."""
        shown = self._state
        if shown.job_id is None or job_id != shown.job_id:
            raise DecisionRefused(
                "This update is no longer offered.",
                kind=Refusal.GONE,
                detail=f"there is no update {job_id} to decide on",
            )
        if self._pending is not None:
            raise DecisionRefused("A decision was made a moment ago.", kind=Refusal.JUST_DECIDED)
        if choice.decision is Decision.CANCEL:
            if shown.job_state not in CANCELABLE:
                raise DecisionRefused(
                    "This update can no longer be canceled.", kind=Refusal.NO_RETURN, detail=f"it is {shown.job_state}"
                )
            return
        if shown.question is None:
            raise DecisionRefused(
                "This update does not wait for a decision.", kind=Refusal.NOT_ASKED, detail=f"it is {shown.job_state}"
            )
        # What the driver agreed to must be what is offered now, and in a language that the campaign has.
        is_as_shown = choice.offer == shown.offer and (not choice.language or choice.language in shown.texts)
        if choice.decision in _CONSENTS and not is_as_shown:
            raise DecisionRefused(
                "The offer has changed. Please read it again.",
                kind=Refusal.SHOWN_DIFFERENTLY,
                detail=f"offer {choice.offer[:16] or 'not named'}, language {choice.language or 'none'}",
            )

    # The agent's side

    async def next_decision(self) -> PendingDecision:
        """Return the driver's next decision."""
        return await self._decisions.get()

    @property
    def pending(self) -> Decision | None:
        """The decision that is not answered yet."""
        return None if self._pending is None else self._pending.choice.decision

    def listen_for_cancel(self, cancel: Callable[[str], None]) -> None:
        """Let the driver's cancel of a job that runs call a function with the job's id."""
        self._cancel = cancel

    def end_decision(self, why: DecisionRefused | None = None) -> None:
        """Answer the pending decision, if there is one.

        Args:
            why: why it is refused; None: it is accepted.
        """
        pending, self._pending = self._pending, None
        while not self._decisions.empty():
            self._decisions.get_nowait()
        if pending is not None:
            if why is not None:
                pending.refused(why)
            else:
                pending.taken()

    def show(self, **fields: Any) -> None:
        """Change fields of ``HmiState``."""
        if any(getattr(self._state, name) != value for name, value in fields.items()):
            self._publish(**fields)

    def show_job(self, job: JobRecord, *, versions: Mapping[str, tuple[str, str]] | None = None, **fields: Any) -> None:
        """Show a job as it is on disk.

        Args:
            job: its record.
            versions: what each ECU ran before and is to run; None: as shown already.
            fields: further fields of ``HmiState``.
        """
        if job.job_id != self._state.job_id:
            self._progress.clear()
            fields = _OF_ONE_JOB | fields
        if versions is not None:
            self._versions = dict(versions)
        self._publish(
            **{
                "job_id": job.job_id,
                "job_state": job.state,
                "ending": ending(job),
                "is_reverting": bool(job.revert_reason) and not is_final(job.state),
                "reason": job.reason or job.revert_reason,
                "obstacle": None,
                "deferred_until": job.deferred_until if job.state in _ASKED_IN else None,
                "campaign_name": job.campaign_name,
                "can_be_canceled": job.state in CANCELABLE,
            }
            | fields
        )

    def show_identities(self, identities: Mapping[str, EcuIdentity]) -> None:
        """Show the identities of ECUs."""
        self._identities.update(identities)
        self._publish()

    def show_progress(self, progress: EcuProgress, *, percent: int) -> None:
        """Show the progress of an ECU and of the whole job: at once when the phase changes, else within ``_MIN_INTERVAL_S``."""
        self._soon["progress_percent"] = percent
        before = self._progress.get(progress.ecu)
        self._progress[progress.ecu] = progress
        if before is None or before.phase is not progress.phase:
            self._publish()
        else:
            self._publish_soon()

    def show_download(self, done_bytes: int, *, percent: int) -> None:
        """Show how many bytes of the downloads have arrived, and the progress of the whole job."""
        self._soon |= {"download_done_bytes": done_bytes, "progress_percent": percent}
        self._publish_soon()

    def show_history(self, ended: list[JobRecord]) -> None:
        """Show the jobs that ended, latest first."""
        self._publish(history=tuple(_history_entry(job) for job in ended[:_MAX_HISTORY]))

    def _publish_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_MIN_INTERVAL_S, self._publish)

    def _publish(self, **fields: Any) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        fields = self._soon | fields
        self._soon = {}
        views = tuple(self._view(name) for name in self._hardware_ids)
        self._state = self._state.model_copy(update={**fields, "ecus": views, "seq": self._state.seq + 1})
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _view(self, name: str) -> EcuView:
        identity = self._identities.get(name)
        running = identity.software_version if identity else ""
        before, after = self._versions.get(name, (running, ""))
        progress = self._progress.get(name)
        return EcuView(
            ecu=name,
            hardware_id=self._hardware_ids[name],
            version=running,
            from_version=before,
            to_version=after,
            slot_state=str(identity.active.state) if identity else "",
            phase=str(progress.phase) if progress else "",
            bytes_done=progress.bytes_done if progress else 0,
            bytes_total=progress.bytes_total if progress else 0,
            bytes_per_s=progress.bytes_per_s if progress else 0.0,
            detail=progress.detail if progress else "",
            evidence=self._evidence[name] if identity else "",
        )


def _ignore(_job_id: str) -> None:
    """Nobody listens for a cancel yet."""


def _history_entry(job: JobRecord) -> HistoryEntry:
    how = ending(job)
    assert how is not None, f"{job.job_id} has not ended"
    return HistoryEntry(
        job_id=job.job_id,
        campaign_name=job.campaign_name,
        state=job.state,
        ending=how,
        ended_at=job.updated_at,
        reason=job.reason,
    )
