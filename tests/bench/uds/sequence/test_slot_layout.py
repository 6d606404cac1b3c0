"""Slots in an encoding that the profile describes."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.uds.sequence.sections import Slots
from otabench.bench.uds.slot_table import Slot, SlotState, SlotTable

VALUES = {0x10: "EMPTY", 0x20: "CONFIRMED", 0x30: "TRIAL"}
ENTRY = {"state": {"did": 0xF1B1, "values": VALUES}, "version": {"did": 0xF1B2, "at": 0, "length": 5}}
OTHER = {"state": {"did": 0xF1B1, "at": 1, "values": VALUES}, "version": {"did": 0xF1B2, "at": 5, "length": 5}}
TABLE: dict[str, Any] = {
    "kind": "table",
    "active": {"did": 0xF1B0, "values": {0x41: 0, 0x42: 1}},
    "each": [ENTRY, OTHER],
}
RECORDS = {0xF1B0: b"B", 0xF1B1: b"\x20\x30", 0xF1B2: b"1.0.02.0.0", 0xF1B3: b"\0\x03"}


def read(table: dict[str, Any], **changed: bytes) -> tuple[SlotTable, list[int]]:
    """Return the slots of a profile, and the identifiers in the order in which they were read."""
    asked: list[int] = []
    records = RECORDS | {int(did, 16): record for did, record in changed.items()}

    def record_of(did: int) -> bytes:
        asked.append(did)
        return records[did]

    layout = Slots.model_validate(table).layout
    assert layout is not None
    return layout.read(record_of), asked


def test_each_record_is_read_once_and_its_bytes_become_slots() -> None:
    slots, asked = read(TABLE)
    assert slots == SlotTable(1, 0, (Slot(SlotState.CONFIRMED, "1.0.0", 0), Slot(SlotState.TRIAL, "2.0.0", 0)))
    assert sorted(asked) == [0xF1B0, 0xF1B1, 0xF1B2]


def test_boots_that_are_left_and_a_plain_number_of_the_active_slot() -> None:
    slots, _ = read({**TABLE, "active": {"did": 0xF1B0}, "boots_left": {"did": 0xF1B3, "at": 1}}, F1B0=b"\0")
    assert (slots.active_slot, slots.boots_left) == (0, 3)


def test_an_empty_slot_has_no_version_whatever_stands_there() -> None:
    slots, _ = read(TABLE, F1B1=b"\x20\x10", F1B2=b"1.0.0\xde\xad\xbe\xef\xff")
    assert slots.slots[1] == Slot(SlotState.EMPTY, "", 0)


def test_versions_may_be_missing() -> None:
    bare = [{"state": each["state"]} for each in (ENTRY, OTHER)]
    slots, asked = read({**TABLE, "each": bare})
    assert [slot.version for slot in slots.slots] == ["", ""]
    assert 0xF1B2 not in asked


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"F1B0": b"C"}, "F1B0: active slot 43 is not among slots.active"),
        ({"F1B0": b""}, "F1B0: byte 0 is missing in an empty record"),
        ({"F1B1": b"\x20"}, "F1B1: byte 1 is missing in 20"),
        ({"F1B1": b"\x20\x77"}, "F1B1: state 77 is not among the values of the slot"),
        ({"F1B2": b"1.0.02.0"}, "is too short"),
    ],
)
def test_a_record_that_does_not_fit_is_named(changed: dict[str, bytes], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read(TABLE, **changed)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({**TABLE, "did": 0xF1A1}, "has active and each, and no did"),
        ({"kind": "table", "active": {"did": 0xF1B0}}, "has active and each, and no did"),
        ({**TABLE, "kind": "single"}, "the others do not have them"),
        ({**TABLE, "each": [ENTRY]}, r"each.1\s+Field required"),
        ({**TABLE, "each": [{"state": {"did": 1, "values": {1: "RUNS"}}}, OTHER]}, "EMPTY.*STAGED"),
        ({**TABLE, "each": [{"state": {"did": 1, "values": {}}}, OTHER]}, "at least 1 item"),
        ({**TABLE, "active": {"did": 1, "values": {1: 2}}}, "Input should be 0 or 1"),
    ],
)
def test_a_layout_that_is_incomplete_is_refused(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Slots.model_validate(table)
