"""Ask the driver, and wait for the decision: in WAITING_FOR_APPROVAL, and once more after a download that was asked about separately."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from otabench.bench.gateway.hmi.dashboard import Dashboard, PendingDecision
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, Refusal
from otabench.bench.gateway.jobs.appointments import Appointment, appointment_of
from otabench.bench.gateway.jobs.conditions import VehicleConditions
from otabench.bench.gateway.jobs.consents import Consents, targets_of
from otabench.bench.gateway.jobs.job_files import JobFiles
from otabench.bench.gateway.jobs.outcome import Outcome
from otabench.bench.gateway.jobs.states import Event
from otabench.bench.gateway.store import Facts, JobRecord, Store
from otabench.bench.gateway.trust.manifest import Plan
from otabench.proto import consent
from otabench.proto.consent import Question, manifest_digest, offer_id
from otabench.proto.trace import TraceWriter

_CLOCK_POLL_S: Final = 5.0
"""Interval between two readings of the wall clock.

The times here must survive a restart, so they are wall-clock times. The wall clock may be set while the gateway waits, and one long wait
would not notice that.
"""
_DECLINED: Final = "the driver declined"


@dataclass
class _Asking:
    """One question to the driver, while it is asked."""

    job: JobRecord
    plan: Plan
    question: Question
    facts: consent.Facts
    ends_at: float | None
    """When the campaign's time for a decision is over; seconds since 1970."""
    deferred_until: float | None
    appointment: Appointment | None


class DriverApproval:
    """The question to the driver.

    Args:
        later_s: how long not to ask the driver again after "Later".
        zone: the vehicle's time zone, for appointments.
        files: the plan of the job, and the free space for its files.
        dashboard: shows the question and returns the driver's decision.
        store: holds the time until which the question is deferred.
        consents: holds consents, reminders and appointments.
        trace: receives each decision.
        conditions: read while the driver is asked; Install now is refused while one is not met.
    """

    def __init__(
        self,
        *,
        later_s: float,
        zone: tzinfo,
        files: JobFiles,
        dashboard: Dashboard,
        store: Store,
        consents: Consents,
        trace: TraceWriter,
        conditions: VehicleConditions,
    ) -> None:
        self._conditions = conditions
        self._later_s = later_s
        self._zone = zone
        self._files = files
        self._dashboard = dashboard
        self._store = store
        self._consents = consents
        self._records = consents.records
        self._trace = trace

    async def ask(self, job: JobRecord) -> Outcome:
        """Return the driver's decision, or TIME_RAN_OUT when the campaign's time for a decision is over."""
        rules = self._files.plan(job).custom.driver
        return await self._ask(job, Question.DOWNLOAD if rules.asks_before_download else Question.BOTH)

    async def ask_to_install(self, job: JobRecord) -> Outcome:
        """Ask about the installation after the download, if the driver has agreed to the download only. Return DOWNLOADED, or the end."""
        plan = self._files.plan(job)
        if not plan.custom.driver.asks_before_download or self._has_agreed_to_install(job):
            return Outcome(Event.DOWNLOADED)
        outcome = await self._ask(job, Question.INSTALL)
        return Outcome(Event.DOWNLOADED) if outcome.event is Event.APPROVED else outcome

    def _has_agreed_to_install(self, job: JobRecord) -> bool:
        """Return whether an earlier process has taken the driver's consent to install at once."""
        consent_given = self._records.consent(job.job_id, Question.INSTALL) is not None
        return consent_given and self._records.appointment(job.job_id, Question.INSTALL) is None

    async def _ask(self, job: JobRecord, question: Question) -> Outcome:
        asking = self._begin(job, question)
        try:
            while True:
                if (outcome := await self._look(asking)) is not None:
                    return outcome
                try:
                    async with asyncio.timeout(self._wait_s(asking)):
                        pending = await self._dashboard.next_decision()
                except TimeoutError:
                    continue
                try:
                    outcome = await self._take(asking, pending)
                except DecisionRefused as refusal:
                    self._dashboard.end_decision(refusal)
                    continue
                if outcome is not None:
                    return outcome
        finally:
            self._dashboard.show(question=None)

    def _begin(self, job: JobRecord, question: Question) -> _Asking:
        """Show the question. What is shown now is what the driver agrees to."""
        plan = self._files.plan(job)
        limit_s = plan.custom.approval_timeout_s
        shown = self._dashboard.snapshot()
        facts = consent.Facts(
            download_bytes=shown.download_bytes,
            duration_min_s=shown.duration_min_s,
            duration_max_s=shown.duration_max_s,
            stops_working=shown.stops_working,
            is_kept_parked=shown.is_kept_parked,
            has_no_way_back=shown.has_no_way_back,
        )
        asking = _Asking(
            job=job,
            plan=plan,
            question=question,
            facts=facts,
            ends_at=(job.asked_at or job.updated_at) + limit_s if limit_s > 0 else None,
            deferred_until=job.deferred_until,
            appointment=self._records.appointment(job.job_id, question),
        )
        self._dashboard.show(
            question=question,
            offer=offer_id(manifest_digest(targets_of(job)), question, facts),
            rules=plan.custom.driver,
            reminders_left=self._reminders_left(asking),
            **_shown(asking.appointment),
        )
        return asking

    async def _look(self, asking: _Asking) -> Outcome | None:
        """Return what follows from the clock and the conditions alone: the end of the campaign's time, or of an appointment."""
        now = time.time()
        if asking.ends_at is not None and now >= asking.ends_at:
            limit_s = asking.plan.custom.approval_timeout_s
            return Outcome(Event.TIME_RAN_OUT, f"the driver did not decide within {limit_s:g} s")
        if asking.deferred_until is not None and now >= asking.deferred_until:
            self._defer(asking, None)
        appointment = asking.appointment
        if appointment is None:
            # Nobody looks at the conditions while the question is deferred.
            if asking.deferred_until is None:
                await self._unmet(asking)
            return None
        if now < appointment.start_from.timestamp():
            return None
        if now < appointment.start_by.timestamp():
            return None if await self._unmet(asking) else self._approve(asking)
        self._trace.emit(
            "driver.appointment_missed", job_id=asking.job.job_id, start_by=appointment.start_by.isoformat()
        )
        self._records.withdraw(asking.job.job_id, asking.question)
        asking.appointment = None
        self._dashboard.show(is_appointment_missed=True, **_shown(None))
        return None

    def _wait_s(self, asking: _Asking) -> float:
        """Return how long to wait for a decision: until the next event of the clock, or the next reading of clock and conditions."""
        now = time.time()
        waits_s = [each - now for each in (asking.ends_at, asking.deferred_until) if each is not None]
        reads_conditions = bool(asking.plan.custom.conditions) and asking.question.covers_install
        reads_conditions = reads_conditions and asking.deferred_until is None
        if asking.appointment is not None:
            starts_in_s = asking.appointment.start_from.timestamp() - now
            waits_s.append(starts_in_s if starts_in_s > 0 else asking.appointment.start_by.timestamp() - now)
            reads_conditions = reads_conditions and starts_in_s <= 0
        poll_s = self._conditions.poll_s if reads_conditions else _CLOCK_POLL_S
        return max(0.0, min([poll_s, *waits_s]))

    async def _take(self, asking: _Asking, pending: PendingDecision) -> Outcome | None:
        """Carry out a decision. Return the outcome; None: the question stays.

        Raises:
            DecisionRefused: the campaign's rules or the vehicle do not allow it.
        """
        choice, job_id = pending.choice, asking.job.job_id
        details = {name: value for name, value in (("when", choice.when), ("reason", choice.reason)) if value}
        self._trace.emit("driver.decision", job_id=job_id, decision=str(choice.decision), **details)
        match choice.decision:
            case Decision.INSTALL:
                # What the page shows may be seconds old.
                if problems := await self._unmet(asking):
                    raise DecisionRefused(
                        "The vehicle does not meet all conditions of this update yet.",
                        kind=Refusal.NOT_READY,
                        detail="; ".join(problems),
                    )
                await self._give(asking, pending, None)
                self._defer(asking, None)
                return self._approve(asking)
            case Decision.SCHEDULE:
                await self._schedule(asking, pending)
            case Decision.DECLINE:
                if asking.plan.custom.driver.install_by:
                    raise DecisionRefused("This update cannot be declined.", kind=Refusal.MUST_BE_INSTALLED)
                self._consents.record_answer(asking.job, asking.plan, choice, question=asking.question)
                return Outcome(Event.DECLINED, f"{_DECLINED}: {choice.reason}" if choice.reason else _DECLINED)
            case _:
                self._remind_later(asking)
                self._consents.record_answer(asking.job, asking.plan, choice, question=asking.question)
        # These decisions do not cause a transition, so the driver gets the answer here. ``job_runner`` answers the others.
        self._dashboard.end_decision()
        return None

    async def _schedule(self, asking: _Asking, pending: PendingDecision) -> None:
        now = datetime.now(UTC)
        appointment = appointment_of(pending.choice.when, now=now, zone=self._zone)
        start = appointment.start_from.timestamp()
        latest = min(asking.plan.expires_at, asking.ends_at or asking.plan.expires_at)
        latest = min(latest, asking.plan.custom.driver.install_by or latest)
        if start > latest:
            raise DecisionRefused(
                "That is too far ahead.",
                kind=Refusal.TOO_FAR,
                detail=f"the offer ends at {datetime.fromtimestamp(latest, UTC).isoformat(timespec='seconds')}",
            )
        # The record holds the conditions as they were when the driver agreed, met or not.
        await self._unmet(asking)
        await self._give(asking, pending, appointment)
        asking.appointment = appointment
        self._defer(asking, None)
        self._dashboard.show(is_appointment_missed=False, **_shown(appointment))

    def _remind_later(self, asking: _Asking) -> None:
        rules, now = asking.plan.custom.driver, time.time()
        if self._reminders_left(asking) == 0:
            raise DecisionRefused("This update cannot be put off again.", kind=Refusal.NO_REMINDERS)
        if rules.install_by and now >= rules.install_by:
            raise DecisionRefused("This update cannot be put off again.", kind=Refusal.MUST_BE_INSTALLED)
        self._records.count_reminder(asking.job.job_id, asking.question)
        asking.appointment = None
        until = now + self._later_s
        self._defer(asking, min(until, rules.install_by) if rules.install_by else until)
        self._dashboard.show(reminders_left=self._reminders_left(asking), is_appointment_missed=False, **_shown(None))

    def _reminders_left(self, asking: _Asking) -> int | None:
        limit = asking.plan.custom.driver.max_reminders
        return None if limit is None else max(0, limit - self._records.reminders(asking.job.job_id))

    async def _unmet(self, asking: _Asking) -> list[str]:
        """Read the conditions, and return those that are not met. A download alone has none."""
        if not asking.question.covers_install:
            return []
        return await self._conditions.unmet(asking.job.job_id, asking.plan)

    async def _give(self, asking: _Asking, pending: PendingDecision, appointment: Appointment | None) -> None:
        await self._consents.give(
            asking.job,
            asking.plan,
            pending.choice,
            question=asking.question,
            facts=asking.facts,
            conditions=self._dashboard.snapshot().conditions,
            appointment=appointment,
        )

    def _defer(self, asking: _Asking, until: float | None) -> None:
        asking.deferred_until = until
        if asking.job.deferred_until is None and until is None:
            return
        asking.job = self._store.note(asking.job.job_id, Facts(deferred_until=until))
        self._dashboard.show_job(asking.job)

    def _approve(self, asking: _Asking) -> Outcome:
        # CONFIRMING has checked both, but the driver may have waited for hours.
        if time.time() >= asking.plan.expires_at:
            return Outcome(
                Event.UNABLE, "the manifest expired while it waited for the driver; a new campaign is needed"
            )
        if asking.question.covers_download and (
            problem := self._files.room_problem(asking.plan, asking.job.from_versions)
        ):
            return Outcome(Event.UNABLE, problem)
        return Outcome(Event.APPROVED)


def _shown(appointment: Appointment | None) -> dict[str, float | None]:
    if appointment is None:
        return {"start_from": None, "start_by": None}
    return {"start_from": appointment.start_from.timestamp(), "start_by": appointment.start_by.timestamp()}
