"""Boot control: the bootloader's record, in two redundant copies.

It holds the slots' states, the preferred slot, the remaining boots of a trial, the minimum security counter, and for each slot the versions
of other ECUs that the Director promised when it was staged. It is one record, so that "the trial is confirmed, and older images are now
refused" and "the slot is STAGED, with these promises" are one commit each, which no power cut can divide.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from otabench.ecu_firmware_sim.boot import dependencies, slots
from otabench.ecu_firmware_sim.boot.dependencies import Versions
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState
from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES, FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.records import RedundantRecord

# Two states, preferred slot, boots left, minimum security counter. The promises follow, of variable length.
_FORMAT: Final = struct.Struct(">BBBBI")

SlotListener = Callable[[int, SlotState, SlotState, SlotEvent], None]


@dataclass(frozen=True)
class BootControl:
    """The contents of the record."""

    states: tuple[SlotState, SlotState]
    preferred: int
    """The slot to boot when there is no trial. It should be CONFIRMED; ``bootloader`` has the other cases."""
    boots_left: int = 0
    minimum_security_counter: int = 0
    promised: tuple[Versions, Versions] = ((), ())
    """For each slot: the versions of other ECUs that its image depends on (``dependencies.kept``)."""

    def encode(self) -> bytes:
        head = _FORMAT.pack(*self.states, self.preferred, self.boots_left, self.minimum_security_counter)
        return head + b"".join(dependencies.encode(versions) for versions in self.promised)

    @classmethod
    def decode(cls, data: bytes) -> BootControl:
        """Return a record from its bytes. Raises ValueError, LookupError or struct.error."""
        first, second, preferred, boots_left, counter = _FORMAT.unpack_from(data)
        promised: tuple[Versions, Versions] = ((), ())
        # A record of an earlier version has no promises; it must still be readable, or an update of the simulator would brick ECUs.
        if rest := data[_FORMAT.size :]:
            of_first, rest = dependencies.decode(rest)
            of_second, _ = dependencies.decode(rest)
            promised = (of_first, of_second)
        # Only the lowest bit of the preferred slot, because it is used as an index.
        return cls((SlotState(first), SlotState(second)), preferred & 1, boots_left, counter, promised)

    def on(self, slot: int, event: SlotEvent) -> BootControl:
        """Return the record after ``event`` has happened to ``slot``. Raises SlotTransitionError."""
        states = list(self.states)
        states[slot] = slots.after(states[slot], event)
        after = replace(self, states=(states[0], states[1]))
        # Promises belong to an image. Delete them with it, so that the next image in the slot does not inherit them.
        return after.promise(slot, ()) if states[slot] in (SlotState.EMPTY, SlotState.INVALID) else after

    def promise(self, slot: int, versions: Versions) -> BootControl:
        """Return the record with the versions that are promised to the image in ``slot``."""
        return replace(self, promised=(versions, self.promised[1]) if slot == 0 else (self.promised[0], versions))

    @property
    def trial(self) -> int | None:
        """The slot on trial, if there is one."""
        return next((slot for slot in (0, 1) if self.states[slot] is SlotState.TRIAL), None)


class BootControlStore:
    """The record in flash. ``listener`` is called after each change of a slot's state, once it is committed."""

    def __init__(self, flash: NorFlash, layout: FlashLayout, listener: SlotListener | None = None) -> None:
        self._record = RedundantRecord(flash, offsets=layout.boot_control_offsets, size_bytes=SECTOR_BYTES)
        self._listener = listener
        self._current: BootControl | None = None

    @property
    def current(self) -> BootControl:
        """The record as it was loaded or committed last. Raises ValueError if neither has happened yet."""
        if self._current is None:
            raise ValueError("boot control was not loaded")
        return self._current

    def load(self) -> BootControl | None:
        """Return the record from its copies; None if neither is valid. Raises PowerLost."""
        payload = self._record.load()
        try:
            self._current = None if payload is None else BootControl.decode(payload)
        except (ValueError, LookupError, struct.error):
            # The CRC is right, so this is a record of another format. The bootloader then judges the slots by their contents.
            self._current = None
        return self._current

    def commit(self, new: BootControl) -> None:
        """Make ``new`` the record, unless it is already. Raises PowerLost."""
        # Each store erases the sectors of both copies: that costs time, and wears the flash.
        if new != self._current:
            self._record.store(new.encode())
            self._current = new

    def apply(self, slot: int, event: SlotEvent, *, promised: Versions | None = None, **changes: int) -> BootControl:
        """Apply ``event`` to ``slot`` and commit. The same commit has the versions ``promised`` to it and ``changes`` of other fields.

        Raises:
            SlotTransitionError: the table has no such transition; nothing was changed.
            PowerLost: power was lost; the record is the old or the new one.
        """
        before = self.current
        new = replace(before.on(slot, event), **changes)  # type: ignore[arg-type]
        if promised is not None:
            new = new.promise(slot, promised)
        self.commit(new)
        # After the commit: the trace must not report a change that a power cut prevented.
        if self._listener is not None and new.states[slot] is not before.states[slot]:
            self._listener(slot, before.states[slot], new.states[slot], event)
        return new

    def prefer(self, slot: int) -> None:
        """Boot ``slot`` from the next reset on, if no trial is due. Raises PowerLost."""
        self.commit(replace(self.current, preferred=slot))

    def forfeit_trial(self) -> None:
        """Set the remaining boots of the trial to 0. Raises PowerLost."""
        # Leave the slot on TRIAL: only the bootloader ends a trial, at the next boot, whatever the reason.
        self.commit(replace(self.current, boots_left=0))
