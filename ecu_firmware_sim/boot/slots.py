"""The states of a firmware slot and the one table of their transitions.

One table has what may follow what. Which slot may be touched is ``programming.memory``'s (never the active one), what is booted
``bootloader``'s.

Rules:

* Only a slot whose image passed check memory becomes STAGED; only a STAGED slot is tried; only a tried slot is confirmed.
* A slot that is being erased or programmed is INVALID, so that a cut in the middle leaves it INVALID. EMPTY is all of it erased.
* What failed (verification, trial) is INVALID and has to be programmed anew.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from otabench.ecu_firmware_sim.errors import SlotTransitionError


class SlotState(IntEnum):
    """Numbers as in DID F1A1."""

    EMPTY = 0
    STAGED = 1
    TRIAL = 2
    CONFIRMED = 3
    INVALID = 4


class SlotEvent(StrEnum):
    """What happens to a slot."""

    ERASE_STARTED = "erase started"
    ERASE_DONE = "erase done"
    DOWNLOAD_STARTED = "download started"
    CHECK_PASSED = "check passed"
    CHECK_FAILED = "check failed"
    ACTIVATED = "activated"
    ACTIVATION_CANCELED = "activation canceled"
    CONFIRMED = "confirmed"
    TRIAL_FAILED = "trial failed"
    REVERTED = "reverted"
    VERIFICATION_FAILED = "verification failed"


_S, _E = SlotState, SlotEvent

TRANSITIONS: Final[dict[tuple[SlotState, SlotEvent], SlotState]] = {
    (_S.EMPTY, _E.ERASE_STARTED): _S.INVALID,
    (_S.EMPTY, _E.DOWNLOAD_STARTED): _S.INVALID,
    (_S.INVALID, _E.ERASE_STARTED): _S.INVALID,
    (_S.INVALID, _E.ERASE_DONE): _S.EMPTY,
    (_S.INVALID, _E.DOWNLOAD_STARTED): _S.INVALID,
    (_S.INVALID, _E.CHECK_PASSED): _S.STAGED,
    (_S.INVALID, _E.CHECK_FAILED): _S.INVALID,
    (_S.STAGED, _E.ERASE_STARTED): _S.INVALID,
    (_S.STAGED, _E.CHECK_PASSED): _S.STAGED,
    (_S.STAGED, _E.CHECK_FAILED): _S.INVALID,
    (_S.STAGED, _E.ACTIVATED): _S.TRIAL,
    (_S.TRIAL, _E.ERASE_STARTED): _S.INVALID,
    (_S.TRIAL, _E.ACTIVATION_CANCELED): _S.STAGED,
    (_S.TRIAL, _E.CONFIRMED): _S.CONFIRMED,
    (_S.TRIAL, _E.TRIAL_FAILED): _S.INVALID,
    (_S.TRIAL, _E.REVERTED): _S.INVALID,
    (_S.TRIAL, _E.VERIFICATION_FAILED): _S.INVALID,
    (_S.CONFIRMED, _E.ERASE_STARTED): _S.INVALID,
    (_S.CONFIRMED, _E.VERIFICATION_FAILED): _S.INVALID,
}


def is_allowed(state: SlotState, event: SlotEvent) -> bool:
    """Return whether the table has a transition for ``event`` in ``state``."""
    return (state, event) in TRANSITIONS


def after(state: SlotState, event: SlotEvent) -> SlotState:
    """Return the state that follows.

    Raises:
        SlotTransitionError: the table has no such transition.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise SlotTransitionError(f"a slot that is {state.name} cannot take the event {event!s}") from None
