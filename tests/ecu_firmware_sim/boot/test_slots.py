"""The slot table, walked."""

from __future__ import annotations

import pytest

from otabench.ecu_firmware_sim.boot import slots
from otabench.ecu_firmware_sim.boot.slots import TRANSITIONS, SlotEvent, SlotState
from otabench.ecu_firmware_sim.errors import SlotTransitionError


def test_every_state_is_reachable_from_a_new_ecus_slots() -> None:
    reached = {SlotState.CONFIRMED, SlotState.EMPTY}
    for _ in SlotState:
        reached |= {after for (before, _event), after in TRANSITIONS.items() if before in reached}
    assert reached == set(SlotState)


def test_every_state_can_be_programmed_anew() -> None:
    assert all(slots.is_allowed(state, SlotEvent.ERASE_STARTED) for state in SlotState)


def test_every_event_occurs() -> None:
    assert {event for _state, event in TRANSITIONS} == set(SlotEvent)


def test_only_a_checked_slot_is_staged_only_a_staged_one_tried_only_a_tried_one_confirmed() -> None:
    into = {
        target: {(b, e) for (b, e), after in TRANSITIONS.items() if after is target and b is not target}
        for target in SlotState
    }
    assert {event for _, event in into[SlotState.STAGED]} == {SlotEvent.CHECK_PASSED, SlotEvent.ACTIVATION_CANCELED}
    assert into[SlotState.TRIAL] == {(SlotState.STAGED, SlotEvent.ACTIVATED)}
    assert into[SlotState.CONFIRMED] == {(SlotState.TRIAL, SlotEvent.CONFIRMED)}


def test_what_the_table_has_not_is_refused() -> None:
    with pytest.raises(SlotTransitionError):
        slots.after(SlotState.EMPTY, SlotEvent.ACTIVATED)
