"""Slots that an ECU reports in an encoding of its own, as data of its profile.

    slots:
      kind: table
      active: {did: 0xF1B0, values: {0x41: 0, 0x42: 1}}
      boots_left: {did: 0xF1B2}
      each:
        - state: {did: 0xF1B1, at: 0, values: {0x10: EMPTY, 0x20: CONFIRMED, 0x30: STAGED}}
          version: {did: 0xF1B1, at: 1, length: 8}
        - state: {did: 0xF1B1, at: 9, values: {0x10: EMPTY, 0x20: CONFIRMED, 0x30: STAGED}}
          version: {did: 0xF1B1, at: 10, length: 8}

The first entry of ``each`` is slot 0. A record that holds several of these values is read once. ``slot_table`` has the layout of an ECU
that reports all of it in one record (``did`` in place of these keys).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from otabench.bench.uds.sequence.did_text import DidText
from otabench.bench.uds.sequence.steps import Byte, Word
from otabench.bench.uds.slot_table import Slot, SlotState, SlotTable

_WITHOUT_VERSION: Final = frozenset({SlotState.EMPTY, SlotState.INVALID})
_At = Annotated[int, Field(ge=0, le=4095)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DidByte(_Model):
    """One byte of a record. ``at``: its place behind the identifier."""

    did: Word
    at: _At = 0

    def byte_of(self, record: bytes) -> int:
        """Return the byte. Raise ValueError: the record is too short."""
        if len(record) <= self.at:
            raise ValueError(
                f"{self.did:04X}: byte {self.at} is missing in {record.hex(' ').upper() or 'an empty record'}"
            )
        return record[self.at]


class ActiveSlot(DidByte):
    """The number of the slot that runs. ``values``: what the byte stands for; None: it is the number."""

    values: dict[Byte, Literal[0, 1]] | None = None

    def number_of(self, record: bytes) -> int:
        """Return 0 or 1. Raise ValueError: the byte is none of the values."""
        byte = self.byte_of(record)
        number = byte if self.values is None else self.values.get(byte, -1)
        if number not in (0, 1):
            raise ValueError(f"{self.did:04X}: active slot {byte:02X} is not among slots.active")
        return number


class StateOfSlot(DidByte):
    """The state of one slot. ``values``: the state that each byte stands for."""

    values: dict[Byte, SlotState] = Field(min_length=1)

    def state_of(self, record: bytes) -> SlotState:
        """Return the state. Raise ValueError: the byte is none of the values."""
        byte = self.byte_of(record)
        if byte not in self.values:
            raise ValueError(f"{self.did:04X}: state {byte:02X} is not among the values of the slot")
        return self.values[byte]


class SlotEntry(_Model):
    """One slot. ``version``: None: the ECU reports it only while it runs (``identity.version``)."""

    state: StateOfSlot
    version: DidText | None = None


class SlotLayout(_Model):
    """Where an ECU reports its two slots."""

    active: ActiveSlot
    each: tuple[SlotEntry, SlotEntry]
    boots_left: DidByte | None = None

    def read(self, read_record: Callable[[int], bytes]) -> SlotTable:
        """Return the slots.

        Args:
            read_record: returns the record of an identifier, without 62 and the identifier.

        Raises:
            ValueError: a record is too short, or holds a value that the profile does not name.
        """
        record_of = cache(read_record)  # one request for each identifier
        slots = tuple(_slot(entry, record_of) for entry in self.each)
        boots_left = 0 if self.boots_left is None else self.boots_left.byte_of(record_of(self.boots_left.did))
        return SlotTable(self.active.number_of(record_of(self.active.did)), boots_left, slots)


def _slot(entry: SlotEntry, record_of: Callable[[int], bytes]) -> Slot:
    state = entry.state.state_of(record_of(entry.state.did))
    # An empty slot reports whatever is in its flash as a version.
    if entry.version is None or state in _WITHOUT_VERSION:
        return Slot(state, "", 0)
    return Slot(state, entry.version.text_of(record_of(entry.version.did)), 0)
