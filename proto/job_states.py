"""The states of a job, and the one table of their transitions.

    is_allowed(JobState.INSTALLING, JobState.ACTIVATING)    # True
    is_final(from_wire(campaign.jobs[0].state))             # has it ended?

The gateway decides when a transition is due (``bench.gateway.jobs.states``), and the cloud refuses transitions that are not in the table.
Both store the states of their jobs themselves. ``ota.proto``, the trace and the HMI use the same names.

Rules:

* A job ends in exactly one of the final states and never leaves it.
* Before ACTIVATING all ECUs still run what they ran before. The operator may cancel, time may run out, and a job may simply fail.
* From ACTIVATING on the vehicle either finishes or reverts (ROLLED_BACK). FAILED then means that reverting failed, too; the reason contains
  the ECU.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from otabench.proto import ota_pb2


class JobState(StrEnum):
    """The state of one job of one vehicle."""

    CREATED = "CREATED"
    CONFIRMING = "CONFIRMING"
    WAITING_FOR_APPROVAL = "WAITING_FOR_APPROVAL"
    DOWNLOADING = "DOWNLOADING"
    INSTALLING = "INSTALLING"
    ACTIVATING = "ACTIVATING"
    VERIFYING = "VERIFYING"
    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"


_S = JobState

TRANSITIONS: Final[dict[JobState, frozenset[JobState]]] = {
    # The cloud makes these by itself: CREATED to CANCELED, and the end of a job whose vehicle is silent for too long. All others are
    # reported by the vehicle.
    _S.CREATED: frozenset({_S.CONFIRMING, _S.CANCELED, _S.TIMED_OUT}),
    _S.CONFIRMING: frozenset({_S.WAITING_FOR_APPROVAL, _S.REJECTED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    _S.WAITING_FOR_APPROVAL: frozenset({_S.DOWNLOADING, _S.REJECTED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    # REJECTED: the driver, who is asked again after the download if the campaign says so, declines the installation.
    _S.DOWNLOADING: frozenset({_S.INSTALLING, _S.REJECTED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    _S.INSTALLING: frozenset({_S.ACTIVATING, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    # From here on a job cannot be CANCELED or TIMED_OUT, because some ECUs may already run the new image on trial.
    _S.ACTIVATING: frozenset({_S.VERIFYING, _S.ROLLED_BACK, _S.FAILED}),
    _S.VERIFYING: frozenset({_S.SUCCEEDED, _S.ROLLED_BACK, _S.FAILED}),
    _S.SUCCEEDED: frozenset(),
    _S.ROLLED_BACK: frozenset(),
    _S.FAILED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.TIMED_OUT: frozenset(),
}

FINAL_STATES: Final[frozenset[JobState]] = frozenset(state for state, after in TRANSITIONS.items() if not after)


def is_allowed(before: JobState, after: JobState) -> bool:
    """Return whether the transition from ``before`` to ``after`` is in the table. Staying in a state is not a transition."""
    return after in TRANSITIONS[before]


def is_final(state: JobState) -> bool:
    """Return whether a job in this state has ended."""
    return state in FINAL_STATES


def to_wire(state: JobState) -> ota_pb2.JobState:
    """Return the state as ``ota.v1.JobState``."""
    return ota_pb2.JobState.Value(f"JOB_STATE_{state}")  # type: ignore[return-value]


def from_wire(value: int) -> JobState:
    """Return the state for a number of ``ota.v1.JobState``.

    Raises:
        ValueError: the number is JOB_STATE_UNSPECIFIED, or a later version defined it (enumerations of proto3 are open).
    """
    # For an unknown number ``Name`` raises ValueError; for JOB_STATE_UNSPECIFIED the constructor does.
    return JobState(ota_pb2.JobState.Name(value).removeprefix("JOB_STATE_"))
