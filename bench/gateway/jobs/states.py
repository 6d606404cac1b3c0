"""The events of a job, and the state that each event leads to.

The allowed transitions are in ``proto.job_states``, which cloud and gateway share. ``NEXT`` adds which event causes which of them.
``job_runner`` runs the actions, and ``store`` persists the states.

Rules:

* Every pair of ``NEXT`` is a transition of the shared table, and every transition of that table has an event here.
* Events from outside (the operator's cancel, a timeout) end a job before ACTIVATING. Later they are ignored.
* From ACTIVATING on, every failure is answered by reverting: REVERTED or REVERT_FAILED. The exception is UNABLE in ACTIVATING: an ECU
  refused the check before activation, so none was activated.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from otabench.proto.job_states import JobState, is_allowed


class Event(StrEnum):
    """What happened to a job."""

    ADOPTED = "the job was taken on"
    MANIFEST_ACCEPTED = "the manifest is good for this vehicle"
    MANIFEST_REFUSED = "the manifest is refused"
    APPROVED = "the driver chose install"
    DECLINED = "the driver declined"
    DOWNLOADED = "all files are here and verified"
    STAGED = "all ECUs hold the new image in their inactive slot"
    ACTIVATED = "all staged slots are trial slots, all ECUs were reset"
    CONFIRMED = "all ECUs run and have confirmed the new version"
    UNABLE = "it cannot be done, and nothing that runs has changed"
    REVERTED = "all ECUs run their old version again"
    REVERT_FAILED = "an ECU could not be brought back"
    CANCELED = "the operator canceled"
    TIME_RAN_OUT = "time ran out"


_S, _E = JobState, Event
_GIVEN_UP: Final = {_E.CANCELED: _S.CANCELED, _E.TIME_RAN_OUT: _S.TIMED_OUT}
_WAY_BACK: Final = {_E.REVERTED: _S.ROLLED_BACK, _E.REVERT_FAILED: _S.FAILED}

NEXT: Final[dict[JobState, dict[Event, JobState]]] = {
    _S.CREATED: {_E.ADOPTED: _S.CONFIRMING, **_GIVEN_UP},
    _S.CONFIRMING: {
        _E.MANIFEST_ACCEPTED: _S.WAITING_FOR_APPROVAL,
        _E.MANIFEST_REFUSED: _S.REJECTED,
        _E.UNABLE: _S.FAILED,
        **_GIVEN_UP,
    },
    _S.WAITING_FOR_APPROVAL: {
        _E.APPROVED: _S.DOWNLOADING,
        _E.DECLINED: _S.REJECTED,
        _E.UNABLE: _S.FAILED,
        **_GIVEN_UP,
    },
    _S.DOWNLOADING: {
        _E.DOWNLOADED: _S.INSTALLING,
        _E.DECLINED: _S.REJECTED,
        _E.UNABLE: _S.FAILED,
        **_GIVEN_UP,
    },
    _S.INSTALLING: {_E.STAGED: _S.ACTIVATING, _E.UNABLE: _S.FAILED, **_GIVEN_UP},
    _S.ACTIVATING: {_E.ACTIVATED: _S.VERIFYING, _E.UNABLE: _S.FAILED, **_WAY_BACK},
    _S.VERIFYING: {_E.CONFIRMED: _S.SUCCEEDED, **_WAY_BACK},
}

NEEDS_MANIFEST: Final[frozenset[JobState]] = frozenset(
    {_S.WAITING_FOR_APPROVAL, _S.DOWNLOADING, _S.INSTALLING, _S.ACTIVATING, _S.VERIFYING}
)
"""States whose actions need the manifest that CONFIRMING has accepted."""


def next_state(state: JobState, event: Event) -> JobState:
    """Return the state that the event leads to.

    Raises:
        ValueError: the event cannot happen in that state.
    """
    try:
        return NEXT[state][event]
    except KeyError:
        raise ValueError(f"event {event.name} cannot happen in state {state}") from None


def can_be_given_up(state: JobState) -> bool:
    """Return whether the operator's cancel or a time-out still ends the job."""
    return is_allowed(state, JobState.CANCELED)


def is_way_back_needed(state: JobState) -> bool:
    """Return whether a failure in this state must be answered by reverting the ECUs."""
    return is_allowed(state, JobState.ROLLED_BACK)
