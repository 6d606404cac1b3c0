"""The states of an update job and the one table of their transitions.

Decides which state may follow which, for cloud and gateway alike: the gateway acts by it, the cloud refuses what it does
not allow. It does not decide *when* a transition is due, nor persist anything. The words are those of ``ota.proto``, the
trace and the HMI.

Rules:

* A job ends in exactly one of the final states and never leaves it.
* The operator may cancel, and time may run out, only until ACTIVATING: from there on the vehicle finishes or rolls back.
* Until INSTALLING ends nothing that an ECU runs has changed, so a job may FAIL there; from ACTIVATING on the way back is
  ROLLED_BACK, and FAILED only says that not even that could be completed (the reason names the ECU).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from otabench.proto import ota_pb2


class JobState(StrEnum):
    """State of one job of one vehicle (design: contract 4.7)."""

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
    _S.CREATED: frozenset({_S.CONFIRMING, _S.CANCELED, _S.TIMED_OUT}),
    _S.CONFIRMING: frozenset({_S.WAITING_FOR_APPROVAL, _S.REJECTED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    _S.WAITING_FOR_APPROVAL: frozenset({_S.DOWNLOADING, _S.REJECTED, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    _S.DOWNLOADING: frozenset({_S.INSTALLING, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
    _S.INSTALLING: frozenset({_S.ACTIVATING, _S.FAILED, _S.CANCELED, _S.TIMED_OUT}),
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
    """Whether the table has the transition ``before`` to ``after``. Staying in a state is no transition."""
    return after in TRANSITIONS[before]


def is_final(state: JobState) -> bool:
    """Whether a job in this state has ended."""
    return state in FINAL_STATES


def to_wire(state: JobState) -> ota_pb2.JobState:
    """The state as ``ota.v1.JobState``."""
    return ota_pb2.JobState.Value(f"JOB_STATE_{state}")  # type: ignore[return-value]


def from_wire(value: int) -> JobState:
    """The state behind an ``ota.v1.JobState`` number.

    Raises:
        ValueError: the number is JOB_STATE_UNSPECIFIED or unknown to this version.
    """
    return JobState(ota_pb2.JobState.Name(value).removeprefix("JOB_STATE_"))
