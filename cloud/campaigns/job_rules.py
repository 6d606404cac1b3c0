"""Rules of one job: what a vehicle's UpdateStatus does to it, and what the operator's cancellation does. Pure.

Which transition is allowed is the table of ``proto.job_states``. The rules here are about what surrounds it:

* A transition number (``transition_seq``) that the cloud has seen is a repeat, whatever state it reports. It is answered and not
  applied, because the vehicle repeats what it could not see answered.
* A report of the state that the job is in is progress.
* The operator's cancellation ends a job at once only if the job was never offered to the vehicle. Otherwise the vehicle is asked to
  end it, because only the vehicle knows how far it is.

What is written to the database is in ``jobs`` (operator) and ``status_update`` (vehicle).
"""

from __future__ import annotations

from enum import StrEnum

from otabench.proto.job_states import TRANSITIONS, JobState, is_allowed, is_final


class Effect(StrEnum):
    """What one UpdateStatus does."""

    TRANSITION = "transition"
    PROGRESS = "progress"
    REPEAT = "repeat"
    REFUSED = "refused"


class CancelEffect(StrEnum):
    """What the operator's cancellation does to one job."""

    ENDS_NOW = "ends now"
    ASKS_VEHICLE = "asks the vehicle"
    ALREADY = "already canceled"
    TOO_LATE = "too late"


def judge_update(current: JobState, reported: JobState, *, seq: int, taken_seq: int) -> Effect:
    """Return what an UpdateStatus with that state and number does to a job.

    Args:
        current: the job's state in the cloud.
        reported: the state that the vehicle reports.
        seq: the vehicle's transition number; 0 if it gives none.
        taken_seq: the highest number that the cloud has applied to this job.
    """
    # Progress is judged before repeats: a progress report carries the number of the transition that led into its state.
    if reported == current:
        return Effect.PROGRESS
    if 0 < seq <= taken_seq:
        return Effect.REPEAT
    return Effect.TRANSITION if is_allowed(current, reported) else Effect.REFUSED


def explain_refusal(job_id: str, current: JobState, reported: JobState) -> str:
    """Return why the table refuses a transition: both states, and what is allowed instead."""
    if is_final(current):
        return f"job {job_id}: {current} to {reported} is not allowed: the job has ended"
    allowed = ", ".join(sorted(TRANSITIONS[current]))
    return f"job {job_id}: {current} to {reported} is not allowed; from {current} it may go to {allowed}"


def judge_cancel(current: JobState, *, offered: bool, already_asked: bool) -> CancelEffect:
    """Return what the operator's cancellation does to a job.

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
