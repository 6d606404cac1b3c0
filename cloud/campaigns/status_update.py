"""Apply an UpdateStatus to the database: a transition of a vehicle's job, or progress within a state.

The effect is written before the vehicle gets its answer, so a vehicle without an answer may repeat its report. ``job_rules.judge_update``
decides the effect of a report.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory, jobs
from otabench.cloud.campaigns.job_rules import Effect, cancel_is_due, explain_refusal, judge_update
from otabench.cloud.campaigns.jobs import Transition
from otabench.cloud.campaigns.vehicle_rules import judge_report
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
    transition = None
    if effect is Effect.TRANSITION:
        transition = jobs.move(session, job, reported, reason=request.reason, now=now)
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
    )


def _keep_details(session: Session, job: JobRow, request: ota_pb2.UpdateStatusRequest) -> None:
    """Store the progress and the ECU reports of an update. What the update does not contain stays as it was."""
    details = ota_pb2.Job.FromString(job.details)
    if request.progress:
        del details.progress[:]
        details.progress.extend(request.progress)
    if request.ecus:
        del details.ecus[:]
        details.ecus.extend(request.ecus)
        # The operator sees every report. The inventory records only reports that agree with the registration.
        vehicle = inventory.load_vehicle(session, job.vin)
        if vehicle is not None and judge_report(vehicle, inventory.reported_ecus(request.ecus)) is None:
            inventory.record(session, job.vin, request.ecus)
    job.details = details.SerializeToString()
