"""Rebuilding an image from a bsdiff4 patch within an ECU's RAM.

A patch is judged first and rebuilt as a stream then: the base is read from flash, and the result is written piece by piece. Whether the
result is the right image is judged by check memory.

Layout of a patch (BSDIFF40): magic, then the lengths of the control and diff streams and of the result, each 8 bytes
little-endian with a sign bit; then the bzip2 streams control, diff and extra.

Rules:

* A patch is judged while it arrives (``Arrival``): its length before its first byte; the header's sizes, which that length and the
  announced size bound, before memory is allocated for it; each stream's decoder as soon as the stream begins.
* bzip2's decoder needs 100 kB and 4 times the block size that the stream names. One decoder runs at a time: control first, extra
  second, diff last, so that the peak is patch + control + extra + one decoder + two steps. A patch that does not fit into the
  declared RAM is refused. The last block of 36 and the chunk of an encrypted file are not counted.
* The control triples must add up to exactly the announced size and stay inside the base.
"""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.flash.layout import SECTOR_BYTES

MAGIC: Final = b"BSDIFF40"
HEADER_BYTES: Final = 32
_TRIPLE: Final = struct.Struct("<QQQ")
# bsdiff stores sign and magnitude, not the two's complement.
_SIGN: Final = 1 << 63
_STEP_BYTES: Final = SECTOR_BYTES
# "BZh" and the block size, from which the decoder's need of memory follows.
_STREAM_HEAD_BYTES: Final = 4
WORK_BYTES: Final = 2 * _STEP_BYTES
SMALLEST_DECODER_BYTES: Final = 500_000
_MASK_7F: Final = int.from_bytes(b"\x7f" * _STEP_BYTES, "little")
_MASK_80: Final = int.from_bytes(b"\x80" * _STEP_BYTES, "little")


class PatchRefused(Exception):
    """A patch that is damaged, foreign, or too large for the ECU's RAM."""


@dataclass(frozen=True)
class RebuildReport:
    """The memory that a rebuild needed, counted as for an implementation in an ECU."""

    peak_ram_bytes: int
    new_bytes: int


def max_patch_bytes(ram_bytes: int) -> int:
    """Return the maximal size of a patch that can be rebuilt within ``ram_bytes``; not positive if there is none."""
    return ram_bytes - SMALLEST_DECODER_BYTES - WORK_BYTES


class Arrival:
    """A patch of ``patch_bytes`` bytes while it arrives.

    Raises:
        PatchRefused: the ECU's RAM does not hold a patch of that length and the smallest decoder.
    """

    def __init__(self, *, patch_bytes: int, new_bytes: int, ram_bytes: int) -> None:
        if patch_bytes > max_patch_bytes(ram_bytes):
            raise PatchRefused(f"a patch of {patch_bytes} bytes does not fit into {ram_bytes} bytes of RAM")
        self.received_bytes = 0
        self._patch_bytes = patch_bytes
        self._new_bytes = new_bytes
        self._ram_bytes = ram_bytes
        self._patch = bytearray()
        self._heads: list[int] | None = None
        """The offsets of the streams whose first bytes have not arrived yet; None before the header has."""

    @property
    def complete(self) -> bool:
        return self.received_bytes == self._patch_bytes

    def take(self, data: bytes) -> None:
        """Keep the next bytes. Raises PatchRefused: they show that the patch cannot be rebuilt."""
        if self.received_bytes + len(data) > self._patch_bytes:
            raise PatchRefused(f"more than the {self._patch_bytes} bytes came that the manifest names")
        if self._heads is None:
            self._patch += data
            self.received_bytes += len(data)
            if self.received_bytes < HEADER_BYTES and not self.complete:
                return
            control, diff = _read_header(self._patch, patch_bytes=self._patch_bytes, new_bytes=self._new_bytes)
            self._heads = [HEADER_BYTES, HEADER_BYTES + control, HEADER_BYTES + control + diff]
            # The whole patch at once, now that its header is plausible: a buffer that grows would need twice its size now and then.
            head, self._patch = self._patch, bytearray(self._patch_bytes)
            self._patch[: len(head)] = head
        else:
            self._patch[self.received_bytes : self.received_bytes + len(data)] = data
            self.received_bytes += len(data)
        self._judge_streams(self._heads)

    def give(self) -> bytearray:
        """Return the patch and forget it."""
        patch, self._patch = self._patch, bytearray()
        return patch

    def _judge_streams(self, heads: list[int]) -> None:
        # The last stream may be shorter than a head, or empty: it is judged, and refused, when the patch is complete.
        while heads and (heads[0] + _STREAM_HEAD_BYTES <= self.received_bytes or self.complete):
            stream = memoryview(self._patch)[heads.pop(0) : self.received_bytes]
            _room(self._patch_bytes, _decoder_bytes(stream), self._ram_bytes)


def rebuild(
    patch: bytes | bytearray, *, base: memoryview, new_bytes: int, ram_bytes: int, write: Callable[[bytes], None]
) -> RebuildReport:
    """Write the image that ``patch`` makes of ``base``, in order, in pieces.

    Raises:
        PatchRefused: the reason. A part of the image may have been written by then.
    """
    # 1. header. Its sizes are checked before anything is allocated by them.
    control_bytes, diff_bytes = _read_header(patch, patch_bytes=len(patch), new_bytes=new_bytes)
    streams = memoryview(patch)[HEADER_BYTES:]
    control_stream = streams[:control_bytes]
    diff_stream = streams[control_bytes : control_bytes + diff_bytes]
    extra_stream = streams[control_bytes + diff_bytes :]
    decoder_bytes = max(_decoder_bytes(stream) for stream in (control_stream, diff_stream, extra_stream))
    room = _room(len(patch), decoder_bytes, ram_bytes)
    # 2. control. It names the sizes of the other two, which bound their decompression.
    control = _decompress_all(control_stream, max_bytes=room, what="control")
    extra_bytes = _check_triples(control, new_bytes=new_bytes)
    # 3. extra
    # Before the extra data are decompressed: their size is known from control.
    if len(control) + extra_bytes > room:
        raise PatchRefused(f"control and extra data do not fit into the ECU's {ram_bytes} bytes of RAM")
    extra_data = _decompress_all(extra_stream, max_bytes=extra_bytes, what="extra")
    if len(extra_data) != extra_bytes:
        raise PatchRefused(f"the extra stream has {len(extra_data)} bytes, the control stream names {extra_bytes}")
    # 4. diff, as large as the image, and therefore streamed: base and result are in flash, and a step of each is in RAM.
    diff = _Stream(diff_stream, "diff")
    position, extra_position = 0, 0
    for add, extra, seek in _triples(control):
        for length in _steps(add):
            # For each step and not once at the end: a seek may lead out of the base and back again.
            if position < 0 or position + length > len(base):
                raise PatchRefused("the patch reads outside its base: it was made for another image")
            write(_add(diff.read(length), base[position : position + length]))
            position += length
        for length in _steps(extra):
            write(bytes(extra_data[extra_position : extra_position + length]))
            extra_position += length
        position += seek
    diff.expect_end()
    peak = len(patch) + decoder_bytes + WORK_BYTES + len(control) + extra_bytes
    return RebuildReport(peak_ram_bytes=peak, new_bytes=new_bytes)


def _room(patch_bytes: int, decoder_bytes: int, ram_bytes: int) -> int:
    """Return the bytes that are left for control and extra data. Raises PatchRefused."""
    room = ram_bytes - patch_bytes - decoder_bytes - WORK_BYTES
    if room < 0:
        raise PatchRefused(f"rebuilding needs {-room} bytes more than the ECU's {ram_bytes} bytes of RAM")
    return room


def _read_header(patch: bytes | bytearray, *, patch_bytes: int, new_bytes: int) -> tuple[int, int]:
    if len(patch) < HEADER_BYTES or patch[:8] != MAGIC:
        raise PatchRefused("this is no BSDIFF40 patch")
    control, diff, new = (_signed(value) for value in struct.unpack_from("<QQQ", patch, 8))
    if control < 0 or diff < 0 or HEADER_BYTES + control + diff > patch_bytes:
        raise PatchRefused("the patch's header names more bytes than there are: it is cut short or damaged")
    if new != new_bytes:
        raise PatchRefused(f"the patch makes {new} bytes, {new_bytes} were announced")
    return control, diff


def _triples(control: bytearray) -> Iterator[tuple[int, int, int]]:
    for add, extra, seek in _TRIPLE.iter_unpack(control):
        yield _signed(add), _signed(extra), _signed(seek)


def _check_triples(control: bytearray, *, new_bytes: int) -> int:
    """Return the number of extra bytes that the triples name. Raises PatchRefused."""
    if len(control) % _TRIPLE.size:
        raise PatchRefused("the control stream is not whole triples")
    if any(add < 0 or extra < 0 for add, extra, _ in _triples(control)):
        raise PatchRefused("a control triple has a negative length")
    if sum(add + extra for add, extra, _ in _triples(control)) != new_bytes:
        raise PatchRefused(f"the control stream does not add up to the announced {new_bytes} bytes")
    return sum(extra for _, extra, _ in _triples(control))


def _signed(value: int) -> int:
    return -(value - _SIGN) if value & _SIGN else value


def _decoder_bytes(stream: memoryview) -> int:
    if len(stream) < 4 or bytes(stream[:3]) != b"BZh" or not 0x31 <= stream[3] <= 0x39:
        raise PatchRefused("a stream of the patch is not bzip2")
    return 100_000 + 400_000 * (stream[3] - 0x30)


def _decompress_all(stream: memoryview, *, max_bytes: int, what: str) -> bytearray:
    source, data = _Stream(stream, what), bytearray()
    while piece := source.some(_STEP_BYTES):
        # Within a step of the limit: a small stream may expand to gigabytes.
        if len(data) + len(piece) > max_bytes:
            raise PatchRefused(f"the {what} stream is larger than the {max_bytes} bytes there are for it")
        data += piece
    source.expect_end()
    return data


class _Stream:
    """A bzip2 stream that is decompressed while it is read."""

    def __init__(self, stream: memoryview, what: str) -> None:
        self._decoder = bz2.BZ2Decompressor()
        self._input = stream
        self._what = what

    def read(self, length: int) -> bytes:
        data = self.some(length)
        while len(data) < length and (more := self.some(length - len(data))):
            data += more
        if len(data) != length:
            raise PatchRefused(f"the {self._what} stream is cut short")
        return data

    def expect_end(self) -> None:
        if self.some(1):
            raise PatchRefused(f"the {self._what} stream is longer than the control stream names")
        if not self._decoder.eof:
            raise PatchRefused(f"the {self._what} stream is cut short")

    def some(self, max_bytes: int) -> bytes:
        """Return at most ``max_bytes``; nothing at the stream's end. Raises PatchRefused."""
        # bzip2 decompresses whole blocks: ``max_length`` holds back what a small input may expand to.
        data = b""
        while not data and max_bytes and not self._decoder.eof:
            given, self._input = self._next_input()
            try:
                data = self._decoder.decompress(given, max_length=max_bytes)
            except (OSError, EOFError, ValueError) as error:
                raise PatchRefused(f"the {self._what} stream is damaged") from error
            if not data and not self._input and self._decoder.needs_input:
                break
        return data

    def _next_input(self) -> tuple[memoryview | bytes, memoryview]:
        if not self._decoder.needs_input:
            return b"", self._input
        return self._input[:_STEP_BYTES], self._input[_STEP_BYTES:]


def _steps(length: int) -> list[int]:
    whole, rest = divmod(length, _STEP_BYTES)
    return [_STEP_BYTES] * whole + ([rest] if rest else [])


def _add(diff: bytes, base: memoryview) -> bytes:
    """Return the byte-wise sum modulo 256, of all bytes at once: the top bit of each byte is added without its carry."""
    # Most of a diff is zeros: the two images agree there.
    if diff.count(0) == len(diff):
        return bytes(base)
    a, b = int.from_bytes(diff, "little"), int.from_bytes(base, "little")
    total = ((a & _MASK_7F) + (b & _MASK_7F)) ^ ((a ^ b) & _MASK_80)
    return total.to_bytes(len(diff), "little")
