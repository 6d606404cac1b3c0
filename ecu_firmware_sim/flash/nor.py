"""NOR flash: its effect on bytes, and the moments at which power may be lost.

Rules:

* Erase works on whole 4 KiB sectors and sets every bit. Program works within 256-byte pages and only clears bits.
* Programming a byte that is not erased is an error that is reported. The memory then holds what a real part would hold
  (old AND new).
* One sector erased, or one page programmed, is one operation. Operations are counted and logged. ``on_operation`` is called before
  each and may cut the power before, within (torn, garbage) or after it.
* Without power every access raises ``PowerLost``.

This module does not interpret the bytes. The file behind the flash is written through, in the order of the operations, before any
time passes and before any caller continues: if the process is killed, the next one finds exactly what was written.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from otabench.ecu_firmware_sim.errors import ConfigError, FlashError, PowerLost
from otabench.ecu_firmware_sim.flash.layout import PAGE_BYTES, SECTOR_BYTES

ERASED: Final = 0xFF
LOG_LENGTH: Final = 4096
# Timers of the operating system are not exact below this, so that shorter times are added up until they reach it.
_MIN_SLEEP_S: Final = 0.002
_BLANK_SECTOR: Final = bytes([ERASED]) * SECTOR_BYTES


class OperationKind(StrEnum):
    """The two operations of the flash."""

    ERASE = "erase"
    PROGRAM = "program"


@dataclass(frozen=True)
class FlashOperation:
    """One operation of the flash. ``number`` counts from 1 over the life of the process."""

    number: int
    kind: OperationKind
    offset: int
    length: int


class Cut(StrEnum):
    """The moment of an operation at which power is lost."""

    BEFORE = "before"
    TORN = "torn"
    """The first half is done."""
    GARBAGE = "garbage"
    """Each cell holds its old or its new value."""
    AFTER = "after"


class Backing(Protocol):
    """Storage in which the flash's contents outlive the process."""

    def write(self, offset: int, data: bytes) -> None: ...


class FileBacking:
    """A file, locked for this process.

    Args:
        path: an existing file of ``size_bytes``.

    Raises:
        ConfigError: the file is absent, of another size, or in use by another process.
    """

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self._path = path
        # Two processes on one file would each write through what the other does not read. The lock ends with the descriptor, so that
        # a killed process leaves none behind.
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"state_file {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise ConfigError(
                f"state_file {path}: in use by another ECU process; stop it or give another file"
            ) from error
        found = os.fstat(self._fd).st_size
        if found != size_bytes:
            os.close(self._fd)
            # Not made longer or shorter: the layout would move, and every record would be read at a wrong place.
            raise ConfigError(
                f"state_file {path}: {found} bytes, but this ECU's flash has {size_bytes}: "
                "delete the file or restore slot_size_bytes"
            )

    def load(self) -> bytearray:
        return bytearray(os.pread(self._fd, os.fstat(self._fd).st_size, 0))

    def write(self, offset: int, data: bytes) -> None:
        os.pwrite(self._fd, data, offset)

    def close(self) -> None:
        os.close(self._fd)


class NorFlash:
    """The flash of one ECU.

    Args:
        memory: its contents; owned by the flash from here on.
        backing: written through, if given.
        timed_from: operations at or above this offset take time.
        wait: called with the seconds that an operation takes; may raise PowerLost.
        noise_seed: seed of the noise that a cut with garbage leaves behind.
    """

    def __init__(
        self,
        memory: bytearray,
        *,
        backing: Backing | None = None,
        timed_from: int = 0,
        wait: Callable[[float], None] | None = None,
        noise_seed: int = 0,
    ) -> None:
        self.memory = memory
        self.erase_sector_s = 0.0
        self.program_page_s = 0.0
        self.powered = True
        self.operations = 0
        self.log: deque[FlashOperation] = deque(maxlen=LOG_LENGTH)
        self.on_operation: Callable[[FlashOperation], Cut | None] | None = None
        self._backing = backing
        self._timed_from = timed_from
        self._wait = wait
        self._owed_s = 0.0
        self._held: tuple[int, int] | None = None
        """Pages in memory that the backing does not have yet, while one call programs them without a pause."""
        self._random = random.Random(noise_seed)

    def seed_noise(self, seed: int) -> None:
        """Set the seed of the noise that a cut with garbage leaves behind from now on."""
        self._random = random.Random(seed)

    @property
    def takes_time(self) -> bool:
        """Whether operations on the code flash take time, so that a response may have to wait for them."""
        return self.erase_sector_s > 0 or self.program_page_s > 0

    def view(self, offset: int, length: int) -> memoryview:
        """Return the memory itself, read-only. It changes with the flash.

        Raises:
            PowerLost: there is no power.
            FlashError: out of bounds.
        """
        self._need_power()
        self._need_bounds(offset, length)
        return memoryview(self.memory).toreadonly()[offset : offset + length]

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of the memory. Raises as ``view`` does."""
        return bytes(self.view(offset, length))

    def is_erased(self, offset: int, length: int) -> bool:
        """Return whether a range is blank, without copying it. Raises as ``view`` does."""
        self.view(offset, length).release()
        return self.memory.count(ERASED, offset, offset + length) == length

    def erase(self, offset: int, length: int) -> None:
        """Erase whole sectors, one operation each.

        Raises:
            FlashError: not whole sectors, or out of bounds.
            PowerLost: power went, or was off.
        """
        self._need_bounds(offset, length)
        if offset % SECTOR_BYTES or length % SECTOR_BYTES:
            raise FlashError(f"erase of 0x{length:X} at 0x{offset:X} is not whole sectors", offset=offset)
        for sector in range(offset, offset + length, SECTOR_BYTES):
            self._operate(OperationKind.ERASE, sector, _BLANK_SECTOR)

    def program(self, offset: int, data: bytes | memoryview) -> None:
        """Program bytes: one operation for each page that they touch.

        Raises:
            FlashError: a byte was not erased (the page is programmed all the same, as a real part would), or out of bounds.
            PowerLost: power went, or was off.
        """
        self._need_bounds(offset, len(data))
        data = bytes(data)
        self._held = (offset, offset)
        try:
            self._program_pages(offset, data)
        finally:
            self._write_held()

    def _program_pages(self, offset: int, data: bytes) -> None:
        position = 0
        while position < len(data):
            at = offset + position
            room = PAGE_BYTES - at % PAGE_BYTES
            page = data[position : position + room]
            before = self.memory[at : at + len(page)]
            # ``count`` runs in C, a comparison byte by byte would not; this is done for every page of every sweep.
            unerased = before.count(ERASED) != len(page)
            if unerased:
                page = bytes(a & b for a, b in zip(before, page, strict=True))
            self._operate(OperationKind.PROGRAM, at, page)
            if unerased:
                raise FlashError(f"page at 0x{at:X} was programmed without being erased", offset=at)
            position += len(page)

    def flip_bit(self, offset: int, bit: int = 0) -> None:
        """Change one bit, as bit rot does: with or without power, and not counted as an operation."""
        self._need_bounds(offset, 1)
        self._store(offset, bytes([self.memory[offset] ^ (1 << bit)]))

    def _operate(self, kind: OperationKind, offset: int, wanted: bytes) -> None:
        self._need_power()
        self.operations += 1
        operation = FlashOperation(self.operations, kind, offset, len(wanted))
        self.log.append(operation)
        cut = self.on_operation(operation) if self.on_operation is not None else None
        if cut is None:
            # Contents first, time second: a process that is killed while it waits has written what it reported.
            self._store(offset, wanted)
            self._take_time(kind, offset)
            return
        self._store(offset, self._partly(offset, wanted, cut))
        # Before the exception: whatever handles it cannot write any more.
        self.powered = False
        raise PowerLost(f"power cut {cut} flash operation {operation.number} ({kind} at 0x{offset:X})")

    def _partly(self, offset: int, wanted: bytes, cut: Cut) -> bytes:
        before = bytes(self.memory[offset : offset + len(wanted)])
        if cut is Cut.BEFORE:
            return before
        if cut is Cut.AFTER:
            return wanted
        half = len(wanted) // 2
        if cut is Cut.TORN:
            return wanted[:half] + before[half:]
        old, new, noise = (
            int.from_bytes(each, "little") for each in (before, wanted, self._random.randbytes(len(wanted)))
        )
        # Bit by bit the old or the new value. As integers, because a loop over bytes would dominate the time of a sweep.
        return (old & noise | new & ~noise).to_bytes(len(wanted), "little")

    def _store(self, offset: int, data: bytes) -> None:
        self.memory[offset : offset + len(data)] = data
        # Only pages that follow each other can be written by one call; any other write goes through at once.
        if self._held is not None and offset == self._held[1]:
            self._held = (self._held[0], offset + len(data))
        elif self._backing is not None:
            self._backing.write(offset, data)

    def _write_held(self) -> None:
        """Write pages that were programmed one behind the other with one call: writing a file costs more than programming a page."""
        held, self._held = self._held, None
        if held is not None and self._backing is not None and held[0] < held[1]:
            self._backing.write(held[0], bytes(self.memory[held[0] : held[1]]))

    def _take_time(self, kind: OperationKind, offset: int) -> None:
        if offset < self._timed_from or self._wait is None:
            return
        self._owed_s += self.erase_sector_s if kind is OperationKind.ERASE else self.program_page_s
        if self._owed_s >= _MIN_SLEEP_S:
            owed, self._owed_s = self._owed_s, 0.0
            # The file must be up to date before time passes; the range that is held starts again behind it.
            if self._held is not None:
                end = self._held[1]
                self._write_held()
                self._held = (end, end)
            self._wait(owed)

    def _need_power(self) -> None:
        if not self.powered:
            raise PowerLost("the ECU has no power")

    def _need_bounds(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > len(self.memory):
            raise FlashError(f"0x{length:X} bytes at 0x{offset:X} are outside the flash", offset=offset)
