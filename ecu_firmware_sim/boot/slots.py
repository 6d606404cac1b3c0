"""The states of a slot, and the one table of their transitions.

Which slot may be touched is judged by ``programming.permission`` (never the active one). Which slot is booted is chosen by
``bootloader``.

Rules:

* Only a slot whose image passed check memory becomes STAGED. Only a STAGED slot is tried. Only a tried slot is confirmed.
* A slot that is being erased or programmed is INVALID, so that a power cut in the middle leaves it INVALID. A slot is EMPTY once all of
  it is erased.
* A slot whose verification or trial failed is INVALID, and must be programmed again.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from otabench.ecu_firmware_sim.errors import SlotTransitionError


class SlotState(IntEnum):
    """States, with their numbers in DID F1A1."""

    EMPTY = 0
    STAGED = 1
    TRIAL = 2
    CONFIRMED = 3
    INVALID = 4


class SlotEvent(StrEnum):
    """Events that change a slot's state."""

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

# CHECK_PASSED leads from STAGED to STAGED: a tester may repeat a check whose response it lost.
# CONFIRMED may be erased: after an update the inactive slot holds the former image. So may TRIAL, while it is only activated.
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
