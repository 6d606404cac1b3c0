"""A record that survives a power cut at any flash operation: two copies, each with a sequence number and a CRC.

Rules:

* The copy that does not hold the newest valid record is written first, and the other one only when the first is whole.
* Loading takes the valid copy with the highest sequence number. A copy that differs from it is repaired at once, so that
  either copy may rot later without loss.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.flash.nor import NorFlash

# Magic, sequence number, length, CRC-32 of the three fields before and the payload.
_HEADER: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"OTBR"


@dataclass(frozen=True)
class _Copy:
    sequence_number: int
    payload: bytes


class RedundantRecord:
    """Two copies of one record in two areas of ``size_bytes`` each (whole sectors)."""

    def __init__(self, flash: NorFlash, *, offsets: tuple[int, int], size_bytes: int) -> None:
        self._flash = flash
        self._offsets = offsets
        self._size_bytes = size_bytes

    @property
    def capacity_bytes(self) -> int:
        return self._size_bytes - _HEADER.size

    def load(self) -> bytes | None:
        """Return the newest valid payload, which both copies then hold; None if neither copy is valid.

        Raises:
            PowerLost: power was lost during the repair, or was off.
        """
        copies = [self._read(offset) for offset in self._offsets]
        newest = _newest(copies)
        if newest is None:
            return None
        for offset, copy in zip(self._offsets, copies, strict=True):
            if copy != newest:
                self._write(offset, newest)
        return newest.payload

    def store(self, payload: bytes) -> None:
        """Replace the record. A cut at any operation leaves the old or the new one.

        Raises:
            ValueError: the payload does not fit.
            PowerLost: power was lost, or was off.
        """
        if len(payload) > self.capacity_bytes:
            raise ValueError(f"a record of {len(payload)} bytes does not fit into {self.capacity_bytes}")
        copies = [self._read(offset) for offset in self._offsets]
        newest = _newest(copies)
        copy = _Copy((newest.sequence_number if newest else 0) + 1, payload)
        # While one copy is being written, the other one must hold the newest record: so the older or broken copy goes first.
        first = 1 if newest is not None and copies[0] == newest else 0
        self._write(self._offsets[first], copy)
        self._write(self._offsets[1 - first], copy)

    def _read(self, offset: int) -> _Copy | None:
        data = self._flash.read(offset, self._size_bytes)
        magic, sequence_number, length, crc = _HEADER.unpack_from(data)
        # The length is not trusted yet: a torn header may name any.
        if magic != _MAGIC or length > self.capacity_bytes:
            return None
        payload = data[_HEADER.size : _HEADER.size + length]
        if zlib.crc32(payload, zlib.crc32(data[:12])) != crc:
            return None
        return _Copy(sequence_number, payload)

    def _write(self, offset: int, copy: _Copy) -> None:
        head = _HEADER.pack(_MAGIC, copy.sequence_number, len(copy.payload), 0)[:12]
        # The CRC covers the header, too: a torn write must not combine a new sequence number with an old payload.
        crc = zlib.crc32(copy.payload, zlib.crc32(head))
        self._flash.erase(offset, self._size_bytes)
        self._flash.program(offset, head + crc.to_bytes(4, "big") + copy.payload)


def _newest(copies: list[_Copy | None]) -> _Copy | None:
    valid = [copy for copy in copies if copy is not None]
    return max(valid, key=lambda copy: copy.sequence_number, default=None)
