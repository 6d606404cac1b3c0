"""Decide the answer to a check-in: no update, an update, or a refusal with its rule.

``judge`` combines inventory, rules and jobs, inside the caller's transaction, and records the report. ``judge_unchanged`` comes first: it
answers from what was read already, if nothing has to be written. Neither makes manifests. If one is needed first, the outcome has
``prepare`` set, and the caller judges again after making it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import ecu_images, inventory, jobs, manifests, version_reports
from otabench.cloud.campaigns.job_rules import cancel_is_due
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.campaigns.manifests import IsSignedNow
from otabench.cloud.campaigns.snapshots import OpenJob, Snapshot
from otabench.cloud.campaigns.vehicle_rules import Offer, Rule, VehicleFacts, judge_check_in, judge_report
from otabench.cloud.campaigns.version_reports import NO_NOTES, ReportNotes
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
    nonce: bytes = b""
    """For the vehicle's next version report."""
    notes: ReportNotes = NO_NOTES
    """Of its version report."""
    offers: OpenJob | None = None
    """Of ``judge_unchanged``: the job that must be marked as offered before the vehicle is answered."""


_NOTHING_WAITS = CheckInOutcome(NO_UPDATE, "no campaign waits for this vehicle")


def judge(
    session: Session, request: ota_pb2.CheckInRequest, *, is_signed_now: IsSignedNow, now: float
) -> CheckInOutcome:
    """Record the vehicle's reports, and return the answer to them. ``is_signed_now``: see ``manifests.is_current``."""
    jobs.lock_vehicles(session, [request.vin])
    taken = version_reports.take(session, request.vin, request.version_report, now=now)
    vehicle = inventory.load_vehicle(session, request.vin)
    outcome = _judge(session, vehicle, request, is_signed_now=is_signed_now, now=now)
    nonce = version_reports.nonce_of(vehicle, now=now) if vehicle else b""
    if nonce is None:
        nonce = version_reports.current_nonce(session, request.vin, now=now)
    return replace(outcome, nonce=nonce, notes=taken.notes)


def _judge(
    session: Session,
    vehicle: VehicleFacts | None,
    request: ota_pb2.CheckInRequest,
    *,
    is_signed_now: IsSignedNow,
    now: float,
) -> CheckInOutcome:
    if (refused := _judge_report(vehicle, request)) is not None:
        return refused
    assert vehicle is not None  # otherwise it was refused
    inventory.record(session, request.vin, request.ecus)
    if request.job_id:
        return _judge_busy_vehicle(session, request)
    if not vehicle.busy_job_id:
        return _NOTHING_WAITS
    job = session.get_one(JobRow, vehicle.busy_job_id)
    if JobState(job.state) is JobState.CREATED:
        return _judge_new_job(session, job, is_signed_now=is_signed_now, now=now)
    # The job has begun, but the vehicle does not name it: it has lost its record of the job. Offer the job again.
    return _outcome(UPDATE_AVAILABLE, job)


def judge_unchanged(
    snapshot: Snapshot | None, request: ota_pb2.CheckInRequest, offers: Sequence[Offer], *, now: float
) -> CheckInOutcome | None:
    """Return the answer to a check-in that changes nothing but that its job is offered now. Return None if ``judge`` has to write more.

    Args:
        snapshot: the vehicle; None if it is not registered.
        request: the check-in.
        offers: the images of the campaign of the vehicle's open job.
        now: the time.
    """
    refused = _judge_report(snapshot.vehicle if snapshot else None, request)
    if snapshot is None:
        return refused
    # A version report, or a nonce for the next one, has to be written.
    nonce = version_reports.nonce_of(snapshot.vehicle, now=now)
    if request.version_report or nonce is None:
        return None
    outcome = refused or _judge_unchanged(snapshot, request, offers, now=now)
    return None if outcome is None else replace(outcome, nonce=nonce)


def _judge_unchanged(
    snapshot: Snapshot, request: ota_pb2.CheckInRequest, offers: Sequence[Offer], *, now: float
) -> CheckInOutcome | None:
    # The versions and counters in the inventory are those of the stored report.
    if any(report.SerializeToString() != snapshot.reports.get(report.ecu) for report in request.ecus):
        return None
    job = snapshot.job
    if request.job_id:
        # Of a job that has ended, ``judge`` tells the vehicle so.
        return _outcome(UPDATE_AVAILABLE, job) if job is not None and job.job_id == request.job_id else None
    if job is None:
        return _NOTHING_WAITS
    if job.state != JobState.CREATED:
        return _outcome(UPDATE_AVAILABLE, job)
    return _judge_offered_job(snapshot, job, offers, now=now)


def _judge_offered_job(
    snapshot: Snapshot, job: OpenJob, offers: Sequence[Offer], *, now: float
) -> CheckInOutcome | None:
    if job.cancel_asked:
        return None
    if job.held:
        return _outcome(NO_UPDATE, job)
    refusal = judge_check_in(snapshot.vehicle, offers, job_id=job.job_id)
    if refusal is not None:
        return _outcome(REFUSED, job) if job.reason == str(refusal) else None
    manifest = snapshot.manifest
    if manifest is None or not manifests.fits(manifest, snapshot.vehicle, now=now):
        return _outcome(NO_UPDATE, job, prepare=True)
    if job.offered and not job.reason:
        return _outcome(UPDATE_AVAILABLE, job)
    return replace(_outcome(UPDATE_AVAILABLE, job), reason="", offers=job)


def _judge_report(vehicle: VehicleFacts | None, request: ota_pb2.CheckInRequest) -> CheckInOutcome | None:
    """Return the refusal of a report that does not agree with the registration."""
    if vehicle is None:
        reason = f"{Rule.UNKNOWN_VEHICLE}: vehicle {request.vin!r} is not registered"
        return CheckInOutcome(REFUSED, reason, job_id=request.job_id)
    refusal = judge_report(vehicle, inventory.reported_ecus(request.ecus))
    return None if refusal is None else CheckInOutcome(REFUSED, str(refusal), job_id=request.job_id)


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
    if job.held:
        return _outcome(NO_UPDATE, job)
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
    job: JobRow | OpenJob,
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
