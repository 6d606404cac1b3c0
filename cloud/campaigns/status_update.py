"""Apply an UpdateStatus to the database: a transition of a vehicle's job, or progress within a state.

The effect is written before the vehicle gets its answer, so a vehicle without an answer may repeat its report. ``job_rules.judge_update``
decides the effect of a report.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory, jobs, version_reports
from otabench.cloud.campaigns.job_rules import Effect, cancel_is_due, explain_refusal, judge_update
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts, judge_report
from otabench.cloud.campaigns.version_reports import NO_NOTES, Proof, ReportNotes, TakenReport
from otabench.cloud.errors import NotAllowed
from otabench.cloud.store.schema import JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState


@dataclass(frozen=True)
class UpdateOutcome:
    """The effect of an UpdateStatus, and the answer to it."""

    effect: Effect
    campaign_id: str
    state: JobState
    cancel_requested: bool
    transition: Transition | None
    nonce: bytes = b""
    """For the vehicle's next version report."""
    notes: ReportNotes = NO_NOTES
    """Of its version report."""
    refusal: str = ""
    """Why the update is refused, although it was recorded that it was made."""


def apply(session: Session, request: ota_pb2.UpdateStatusRequest, *, reported: JobState, now: float) -> UpdateOutcome:
    """Apply an UpdateStatus inside the caller's transaction.

    Raises:
        UnknownThing: the vehicle does not have this job.
        NotAllowed: the transition is not allowed. Nothing is written.
    """
    jobs.lock_vehicles(session, [request.vin])
    job = jobs.load_job(session, vin=request.vin, job_id=request.job_id)
    current = JobState(job.state)
    effect = judge_update(current, reported, seq=request.transition_seq, taken_seq=job.taken_seq)
    if effect is Effect.REFUSED:
        raise NotAllowed(explain_refusal(job.job_id, current, reported))
    # The vehicle may know the job's id from its topic, and must not begin all the same.
    if job.held:
        raise NotAllowed(f"job {job.job_id} {job.reason}")
    taken = version_reports.take(session, request.vin, request.version_report, now=now)
    after, reason = _judge_end(session, job, taken) if _is_success(effect, reported) else (reported, request.reason)
    transition = None
    if after is None:
        return _unproven(session, job, effect, taken, reason=reason, now=now)
    if effect is Effect.TRANSITION:
        transition = jobs.move(session, job, after, reason=reason or request.reason, now=now)
        # A report without a number has 0. That must not reset the highest number, or old reports would count as new.
        job.taken_seq = max(job.taken_seq, request.transition_seq)
        job.offered = True
    elif effect is Effect.PROGRESS and request.reason:
        job.reason = request.reason
    if effect is not Effect.REPEAT:
        _keep_details(session, job, request)
        job.updated_at = now
    state = JobState(job.state)
    return UpdateOutcome(
        effect=effect,
        campaign_id=job.campaign_id,
        state=state,
        cancel_requested=cancel_is_due(state, asked=job.cancel_asked),
        transition=transition,
        nonce=version_reports.current_nonce(session, request.vin, now=now),
        notes=taken.notes,
    )


def _is_success(effect: Effect, reported: JobState) -> bool:
    return effect is Effect.TRANSITION and reported is JobState.SUCCEEDED


def _judge_end(session: Session, job: JobRow, taken: TakenReport) -> tuple[JobState | None, str]:
    """Return the state in which a job ends whose vehicle reports SUCCEEDED, and what the operator reads. None: it does not end yet."""
    vehicle = inventory.load_vehicle(session, job.vin)
    assert vehicle is not None  # the foreign key guarantees the vehicle of a job
    verdict = version_reports.judge_success(session, job, vehicle, taken)
    if verdict.proof is Proof.PROVEN:
        return JobState.SUCCEEDED, verdict.reason
    if verdict.proof is Proof.CONTRADICTED:
        return JobState.FAILED, verdict.reason
    job.unproven += 1
    if job.unproven < version_reports.MAX_UNPROVEN:
        return None, verdict.reason
    return JobState.FAILED, f"{verdict.reason}; that was claimed {job.unproven} times: read the ECUs' versions"


def _unproven(
    session: Session, job: JobRow, effect: Effect, taken: TakenReport, *, reason: str, now: float
) -> UpdateOutcome:
    """Return the outcome of a success that is not proven. The operator reads why the job has not ended."""
    job.reason, job.updated_at = reason, now
    return UpdateOutcome(
        effect=effect,
        campaign_id=job.campaign_id,
        state=JobState(job.state),
        cancel_requested=False,
        transition=None,
        nonce=version_reports.current_nonce(session, job.vin, now=now),
        notes=taken.notes,
        refusal=reason,
    )


def _keep_details(session: Session, job: JobRow, request: ota_pb2.UpdateStatusRequest) -> None:
    """Store the progress and the ECU reports of an update. What the update does not contain stays as it was."""
    details = ota_pb2.Job.FromString(job.details)
    if request.progress:
        del details.progress[:]
        details.progress.extend(request.progress)
    if request.ecus:
        vehicle = inventory.load_vehicle(session, job.vin)
        assert vehicle is not None  # the foreign key guarantees the vehicle of a job
        del details.ecus[:]
        details.ecus.extend(request.ecus)
        _set_evidence(job, vehicle, details)
        # The operator sees every report. The inventory records only reports that agree with the registration.
        if judge_report(vehicle, inventory.reported_ecus(request.ecus)) is None:
            inventory.record(session, job.vin, request.ecus)
    job.details = details.SerializeToString()


def _set_evidence(job: JobRow, vehicle: VehicleFacts, details: ota_pb2.Job) -> None:
    """Set who vouches for what each ECU runs. What the vehicle has put there itself is overwritten."""
    signing = {ecu.ecu for ecu in vehicle.ecus if ecu.report_key}
    # A job whose vehicle signs becomes SUCCEEDED by accepted reports only. In any other state it is what the gateway states.
    is_proven = JobState(job.state) is JobState.SUCCEEDED
    for report in details.ecus:
        by_ecu = is_proven and report.ecu in signing
        report.evidence = ota_pb2.EVIDENCE_SIGNED_BY_ECU if by_ecu else ota_pb2.EVIDENCE_REPORTED_BY_GATEWAY
