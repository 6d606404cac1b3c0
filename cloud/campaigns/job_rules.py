"""The rules of one job: the effect of a vehicle's UpdateStatus, and of the operator's cancellation.

``proto.job_states`` holds the allowed transitions. The rules here add:

* A transition number (``transition_seq``) that the cloud has applied before marks a repetition, whatever state it reports. It is answered,
  but not applied: a vehicle repeats a report whose answer it did not receive.
* A report of the job's current state is progress.
* The operator's cancellation ends a job at once only if the job was never offered to the vehicle. Otherwise the cloud asks the vehicle to
  end the job, because only the vehicle can stop its update safely.

``jobs`` (operator) and ``status_update`` (vehicle) write the effects to the database.
"""

from __future__ import annotations

from enum import StrEnum

from otabench.proto.job_states import TRANSITIONS, JobState, is_allowed, is_final


class Effect(StrEnum):
    """The effect of an UpdateStatus."""

    TRANSITION = "transition"
    PROGRESS = "progress"
    REPEAT = "repeat"
    REFUSED = "refused"


class CancelEffect(StrEnum):
    """The effect of the operator's cancellation on one job."""

    ENDS_NOW = "ends now"
    ASKS_VEHICLE = "asks the vehicle"
    ALREADY = "already canceled"
    TOO_LATE = "too late"


def judge_update(current: JobState, reported: JobState, *, seq: int, taken_seq: int) -> Effect:
    """Return the effect of an UpdateStatus.

    Args:
        current: the job's state in the cloud.
        reported: the state that the vehicle reports.
        seq: the vehicle's transition number; 0 if the report has none.
        taken_seq: the highest number that the cloud has applied to this job.
    """
    # Judge progress before repetitions, because a progress report carries the number of the transition that led to its state.
    if reported == current:
        return Effect.PROGRESS
    if 0 < seq <= taken_seq:
        return Effect.REPEAT
    return Effect.TRANSITION if is_allowed(current, reported) else Effect.REFUSED


def explain_refusal(job_id: str, current: JobState, reported: JobState) -> str:
    """Return why a transition is refused: both states, and the allowed transitions."""
    if is_final(current):
        return f"job {job_id}: {current} to {reported} is not allowed: the job has ended"
    allowed = ", ".join(sorted(TRANSITIONS[current]))
    return f"job {job_id}: {current} to {reported} is not allowed; from {current} the allowed states are {allowed}"


def judge_cancel(current: JobState, *, offered: bool, already_asked: bool) -> CancelEffect:
    """Return the effect of the operator's cancellation.

    Args:
        current: the job's state.
        offered: whether a check-in was ever answered with this job.
        already_asked: whether the operator canceled it before.
    """
    if current is JobState.CANCELED:
        return CancelEffect.ALREADY
    if not is_allowed(current, JobState.CANCELED):
        return CancelEffect.TOO_LATE
    if current is JobState.CREATED and not offered:
        return CancelEffect.ENDS_NOW
    return CancelEffect.ALREADY if already_asked else CancelEffect.ASKS_VEHICLE


def cancel_is_due(current: JobState, *, asked: bool) -> bool:
    """Return whether the vehicle still has to be asked to cancel."""
    return asked and is_allowed(current, JobState.CANCELED)
