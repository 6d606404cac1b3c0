"""Decide the answer to a check-in: no update, an update, or a refusal with its rule.

This module combines inventory, rules and jobs, inside the caller's transaction. It does not make manifests. If one is needed first, the
outcome has ``prepare`` set, and the caller judges again after making it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import ecu_images, inventory, jobs, manifests
from otabench.cloud.campaigns.job_rules import cancel_is_due
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.campaigns.manifests import IsSignedNow
from otabench.cloud.campaigns.vehicle_rules import Rule, judge_check_in, judge_report
from otabench.cloud.errors import UnknownThing
from otabench.cloud.store.schema import JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, is_final

NO_UPDATE = ota_pb2.CheckInResponse.DECISION_NO_UPDATE
UPDATE_AVAILABLE = ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
REFUSED = ota_pb2.CheckInResponse.DECISION_REFUSED


@dataclass(frozen=True)
class CheckInOutcome:
    """The answer, and what the caller has to do before or after it."""

    decision: ota_pb2.CheckInResponse.Decision
    reason: str = ""
    job_id: str = ""
    job_state: JobState | None = None
    campaign_id: str = ""
    prepare: bool = False
    """True: the manifest must be made first. Then judge again."""
    transition: Transition | None = None


def judge(
    session: Session, request: ota_pb2.CheckInRequest, *, is_signed_now: IsSignedNow, now: float
) -> CheckInOutcome:
    """Record the vehicle's report, and return the answer to it. ``is_signed_now``: see ``manifests.is_current``."""
    jobs.lock_vehicles(session, [request.vin])
    vehicle = inventory.load_vehicle(session, request.vin)
    if vehicle is None:
        reason = f"{Rule.UNKNOWN_VEHICLE}: vehicle {request.vin!r} is not registered"
        return CheckInOutcome(REFUSED, reason, job_id=request.job_id)
    refusal = judge_report(vehicle, inventory.reported_ecus(request.ecus))
    if refusal is not None:
        return CheckInOutcome(REFUSED, str(refusal), job_id=request.job_id)
    inventory.record(session, request.vin, request.ecus)
    if request.job_id:
        return _judge_busy_vehicle(session, request)
    # The answer to most check-ins of a fleet, with as few statements as possible.
    if not vehicle.busy_job_id:
        return CheckInOutcome(NO_UPDATE, "no campaign waits for this vehicle")
    job = session.get_one(JobRow, vehicle.busy_job_id)
    if JobState(job.state) is JobState.CREATED:
        return _judge_new_job(session, job, is_signed_now=is_signed_now, now=now)
    # The job has begun, but the vehicle does not name it: it has lost its record of the job. Offer the job again.
    return _outcome(UPDATE_AVAILABLE, job)


def _judge_busy_vehicle(session: Session, request: ota_pb2.CheckInRequest) -> CheckInOutcome:
    try:
        job = jobs.load_job(session, vin=request.vin, job_id=request.job_id)
    except UnknownThing as error:
        return CheckInOutcome(REFUSED, str(error), job_id=request.job_id)
    return _outcome(NO_UPDATE if is_final(JobState(job.state)) else UPDATE_AVAILABLE, job)


def _judge_new_job(session: Session, job: JobRow, *, is_signed_now: IsSignedNow, now: float) -> CheckInOutcome:
    if job.cancel_asked:
        transition = jobs.move(session, job, JobState.CANCELED, reason=job.cancel_reason, now=now)
        return _outcome(NO_UPDATE, job, transition=transition)
    vehicle = inventory.load_vehicle(session, job.vin)
    assert vehicle is not None  # the foreign key guarantees the vehicle of a job
    refusal = judge_check_in(vehicle, ecu_images.load_offers(session, job.campaign_id), job_id=job.job_id)
    if refusal is not None:
        # The job stays CREATED, because the vehicle may fit later: an ECU is replaced, or a version is reported.
        _note(job, str(refusal), now=now)
        return _outcome(REFUSED, job)
    if not manifests.is_current(session, job, vehicle, is_signed_now=is_signed_now, now=now):
        return _outcome(NO_UPDATE, job, prepare=True)
    job.offered = True
    _note(job, "", now=now)
    return _outcome(UPDATE_AVAILABLE, job)


def _note(job: JobRow, reason: str, *, now: float) -> None:
    """Set the reason. Watchers on other control planes find the change by its time."""
    if job.reason != reason:
        job.reason, job.updated_at = reason, now


def _outcome(
    decision: ota_pb2.CheckInResponse.Decision,
    job: JobRow,
    *,
    prepare: bool = False,
    transition: Transition | None = None,
) -> CheckInOutcome:
    state = JobState(job.state)
    reason = job.reason
    if cancel_is_due(state, asked=job.cancel_asked):
        reason = f"the operator asks to cancel: {job.cancel_reason}"
    return CheckInOutcome(
        decision=decision,
        reason=reason,
        job_id=job.job_id,
        job_state=state,
        campaign_id=job.campaign_id,
        prepare=prepare,
        transition=transition,
    )
