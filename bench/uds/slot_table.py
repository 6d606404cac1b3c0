"""The slot table (identifier F1A1): a parser for its record. The layout is in docs/contracts.md.

This module does no input or output. ``identity.read_slots`` reads the record from an ECU.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from otabench.proto.image_format import ImageVersion


class SlotState(StrEnum):
    """State of a slot."""

    EMPTY = "EMPTY"
    STAGED = "STAGED"
    TRIAL = "TRIAL"
    CONFIRMED = "CONFIRMED"
    INVALID = "INVALID"


@dataclass(frozen=True)
class Slot:
    """One slot of the slot table. ``version`` is empty if the slot does not hold a readable image."""

    state: SlotState
    version: str
    security_counter: int


_HEAD: Final = struct.Struct(">BB")
_SLOT: Final = struct.Struct(">BBBHII")
SLOT_TABLE_BYTES: Final = _HEAD.size + 2 * _SLOT.size  # 28
_STATES: Final = (SlotState.EMPTY, SlotState.STAGED, SlotState.TRIAL, SlotState.CONFIRMED, SlotState.INVALID)


@dataclass(frozen=True)
class SlotTable:
    """The contents of F1A1. ``boots_left`` is the number of boots that the bootloader still grants a trial."""

    active_slot: int
    boots_left: int
    slots: tuple[Slot, ...]

    @property
    def active(self) -> Slot:
        return self.slots[self.active_slot]

    @property
    def other(self) -> Slot:
        return self.slots[1 - self.active_slot]


def parse(record: bytes) -> SlotTable:
    """Parse the data record of F1A1.

    Raises:
        ValueError: the record does not have 28 bytes, or contains a state or slot number that does not exist.
    """
    if len(record) != SLOT_TABLE_BYTES:
        raise ValueError(f"a slot table has {SLOT_TABLE_BYTES} bytes, not {len(record)}")
    active, boots_left = _HEAD.unpack_from(record)
    # An ECU has two slots. Any other number means that the record is not a slot table.
    if active > 1:
        raise ValueError(f"active slot {active} does not exist")
    return SlotTable(active, boots_left, tuple(_slot(record, _HEAD.size + n * _SLOT.size) for n in (0, 1)))


def same_version(first: str, second: str) -> bool:
    """Return whether two texts denote the same version, as "2.0.0" and "2.0.0+0" do."""
    try:
        return ImageVersion.parse(first) == ImageVersion.parse(second)
    except ValueError:
        # A board may report a text that is not a version of the image format.
        return first == second


def _slot(record: bytes, offset: int) -> Slot:
    state, major, minor, revision, build, security_counter = _SLOT.unpack_from(record, offset)
    if state >= len(_STATES):
        raise ValueError(f"slot state {state} does not exist")
    version = ImageVersion(major, minor, revision, build)
    # An ECU reports 0.0.0 for a slot without a readable image.
    readable = _STATES[state] is not SlotState.EMPTY and version != ImageVersion(0, 0, 0)
    return Slot(state=_STATES[state], version=str(version) if readable else "", security_counter=security_counter)
