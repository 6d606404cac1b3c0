"""Campaign rules, pure: what an UpdateStatus does to a job, what cancelling does to it, and when a patch is worth it.

The transitions themselves are the table of ``proto.job_states``. Here is what surrounds them: repeats, progress, numbers
already taken, and what the cloud may do by itself. Nothing here persists, sends or reads a clock.

* A number (``transition_seq``) already taken is a repeat, whatever it says: answered, not applied.
* A report of the state the job is in is progress.
* The operator's cancel ends a job at once only where no vehicle has been offered it; else the vehicle is asked to.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from otabench.proto.job_states import TRANSITIONS, JobState, is_allowed, is_final

PATCH_PAYS_BELOW: Final = 0.70
"""A patch is kept where it is smaller than this share of the image."""


class Effect(StrEnum):
    """What one UpdateStatus does."""

    TRANSITION = "transition"
    PROGRESS = "progress"
    REPEAT = "repeat"
    REFUSED = "refused"


class CancelEffect(StrEnum):
    """What the operator's cancel does to one job."""

    ENDS_NOW = "ends now"
    ASKS_VEHICLE = "asks the vehicle"
    ALREADY = "already canceled"
    TOO_LATE = "too late"


class TransferPolicy(StrEnum):
    """How images travel (``ota.v1.TransferPolicy``)."""

    AUTO = "AUTO"
    FULL = "FULL"
    DELTA = "DELTA"


def judge_update(current: JobState, reported: JobState, *, seq: int, taken_seq: int) -> Effect:
    """What an UpdateStatus with that state and number does to a job.

    Args:
        current: the job's state as the cloud has it.
        reported: the state the vehicle reports.
        seq: the vehicle's transition number; 0 if it gives none.
        taken_seq: the highest number the cloud has taken for this job.
    """
    if reported == current:
        return Effect.PROGRESS
    if 0 < seq <= taken_seq:
        return Effect.REPEAT
    return Effect.TRANSITION if is_allowed(current, reported) else Effect.REFUSED


def explain_refusal(job_id: str, current: JobState, reported: JobState) -> str:
    """Why the table refuses, with both states and what is allowed instead."""
    if is_final(current):
        return f"job {job_id}: {current} to {reported} is not allowed: the job has ended"
    allowed = ", ".join(sorted(TRANSITIONS[current]))
    return f"job {job_id}: {current} to {reported} is not allowed; from {current} it may go to {allowed}"


def judge_cancel(current: JobState, *, offered: bool, already_asked: bool) -> CancelEffect:
    """What the operator's cancel does to a job.

    Args:
        current: the job's state.
        offered: whether the vehicle was ever told of the job.
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
    """Whether the vehicle is (still) to be asked to cancel."""
    return asked and is_allowed(current, JobState.CANCELED)


def patch_is_kept(transfer: TransferPolicy, *, patch_bytes: int, image_bytes: int) -> bool:
    """Whether a patch of that size goes into the manifest."""
    if transfer is TransferPolicy.FULL:
        return False
    return transfer is TransferPolicy.DELTA or patch_bytes < PATCH_PAYS_BELOW * image_bytes
