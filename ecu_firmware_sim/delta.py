"""Rebuilding an image from a bsdiff4 patch within an ECU's RAM.

Decides whether a patch may be rebuilt and does it, streaming: the base is read from flash, the result is written as it
comes. It does not decide whether the result is the right image (check memory does).

Layout of a patch (BSDIFF40): magic, then the lengths of the control and diff streams and of the result, each 8 bytes
little-endian with a sign bit; then the bzip2 streams control, diff and extra.

Rules:

* The header's sizes are bounded by the patch, the announced size and the slot before anything is allocated.
* bzip2's decoder needs 100 kB + 4 times the block size named in the stream. One decoder runs at a time: control first, extra
  second, diff last, so that the peak is patch + control + extra + one decoder + two pages. What does not fit into the
  declared RAM is refused.
* The control triples must add up to exactly the announced size and stay inside the base.
"""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecu_firmware_sim.layout import SECTOR_BYTES

MAGIC: Final = b"BSDIFF40"
HEADER_BYTES: Final = 32
_TRIPLE: Final = struct.Struct("<QQQ")
_SIGN: Final = 1 << 63
_STEP_BYTES: Final = SECTOR_BYTES
WORK_BYTES: Final = 2 * _STEP_BYTES
SMALLEST_DECODER_BYTES: Final = 500_000
_MASK_7F: Final = int.from_bytes(b"\x7f" * _STEP_BYTES, "little")
_MASK_80: Final = int.from_bytes(b"\x80" * _STEP_BYTES, "little")


class PatchRefused(Exception):
    """A patch that is damaged, foreign, or too large for the ECU's RAM."""


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild needed, counted as an implementation in an ECU would."""

    peak_ram_bytes: int
    new_bytes: int


def most_patch_bytes(ram_bytes: int) -> int:
    """How large a patch may be that is to be rebuilt within ``ram_bytes``; not positive if none can."""
    return ram_bytes - SMALLEST_DECODER_BYTES - WORK_BYTES


def rebuild(
    patch: bytes, *, base: memoryview, new_bytes: int, ram_bytes: int, write: Callable[[bytes], None]
) -> RebuildReport:
    """Writes the image that ``patch`` makes of ``base``, in order, in pieces.

    Raises:
        PatchRefused: why. Some of the image may have been written by then.
    """
    # 1. header, bounded before anything is allocated
    control_bytes, diff_bytes = _read_header(patch, new_bytes=new_bytes)
    streams = memoryview(patch)[HEADER_BYTES:]
    control_stream = streams[:control_bytes]
    diff_stream = streams[control_bytes : control_bytes + diff_bytes]
    extra_stream = streams[control_bytes + diff_bytes :]
    decoder_bytes = max(_decoder_bytes(stream) for stream in (control_stream, diff_stream, extra_stream))
    room = ram_bytes - len(patch) - decoder_bytes - WORK_BYTES
    if room < 0:
        raise PatchRefused(f"rebuilding needs {-room} bytes more than the ECU's {ram_bytes} bytes of RAM")
    # 2. control
    control = _decompress_all(control_stream, most_bytes=room, what="control")
    triples = _read_triples(control, new_bytes=new_bytes)
    # 3. extra
    extra_bytes = sum(extra for _, extra, _ in triples)
    if len(control) + extra_bytes > room:
        raise PatchRefused(f"control and extra data do not fit into the ECU's {ram_bytes} bytes of RAM")
    extra_data = _decompress_all(extra_stream, most_bytes=extra_bytes, what="extra")
    if len(extra_data) != extra_bytes:
        raise PatchRefused(f"the extra stream has {len(extra_data)} bytes, the control stream names {extra_bytes}")
    # 4. diff, streamed
    diff = _Stream(diff_stream)
    position, extra_position = 0, 0
    for add, extra, seek in triples:
        for length in _steps(add):
            if position < 0 or position + length > len(base):
                raise PatchRefused("the patch reads outside its base: it was made for another image")
            write(_add(diff.read(length), base[position : position + length]))
            position += length
        for length in _steps(extra):
            write(extra_data[extra_position : extra_position + length])
            extra_position += length
        position += seek
    diff.expect_end()
    peak = len(patch) + decoder_bytes + WORK_BYTES + len(control) + extra_bytes
    return RebuildReport(peak_ram_bytes=peak, new_bytes=new_bytes)


def _read_header(patch: bytes, *, new_bytes: int) -> tuple[int, int]:
    if len(patch) < HEADER_BYTES or patch[:8] != MAGIC:
        raise PatchRefused("this is no BSDIFF40 patch")
    control, diff, new = (_signed(value) for value in struct.unpack_from("<QQQ", patch, 8))
    if control < 0 or diff < 0 or HEADER_BYTES + control + diff > len(patch):
        raise PatchRefused("the patch's header names more bytes than there are: it is cut short or damaged")
    if new != new_bytes:
        raise PatchRefused(f"the patch makes {new} bytes, {new_bytes} were announced")
    return control, diff


def _read_triples(control: bytes, *, new_bytes: int) -> list[tuple[int, int, int]]:
    if len(control) % _TRIPLE.size:
        raise PatchRefused("the control stream is not whole triples")
    triples = [(_signed(a), _signed(e), _signed(s)) for a, e, s in _TRIPLE.iter_unpack(control)]
    if any(add < 0 or extra < 0 for add, extra, _ in triples):
        raise PatchRefused("a control triple has a negative length")
    if sum(add + extra for add, extra, _ in triples) != new_bytes:
        raise PatchRefused(f"the control stream does not add up to the announced {new_bytes} bytes")
    return triples


def _signed(value: int) -> int:
    return -(value - _SIGN) if value & _SIGN else value


def _decoder_bytes(stream: memoryview) -> int:
    if len(stream) < 4 or bytes(stream[:3]) != b"BZh" or not 0x31 <= stream[3] <= 0x39:
        raise PatchRefused("a stream of the patch is not bzip2")
    return 100_000 + 400_000 * (stream[3] - 0x30)


def _decompress_all(stream: memoryview, *, most_bytes: int, what: str) -> bytes:
    decoder = bz2.BZ2Decompressor()
    try:
        data = decoder.decompress(stream, max_length=most_bytes + 1)
        if not decoder.eof and len(data) <= most_bytes:
            data += decoder.decompress(b"", max_length=1)
    except (OSError, EOFError, ValueError) as error:
        raise PatchRefused(f"the {what} stream is damaged") from error
    if len(data) > most_bytes:
        raise PatchRefused(f"the {what} stream is larger than the {most_bytes} bytes there are for it")
    if not decoder.eof:
        raise PatchRefused(f"the {what} stream is cut short")
    return data


class _Stream:
    """A bzip2 stream that is decompressed as it is read."""

    def __init__(self, stream: memoryview) -> None:
        self._decoder = bz2.BZ2Decompressor()
        self._input: memoryview | bytes = stream

    def read(self, length: int) -> bytes:
        data = self._decompress(length)
        while len(data) < length and not self._decoder.eof:
            more = self._decompress(length - len(data))
            if not more:
                break
            data += more
        if len(data) != length:
            raise PatchRefused("the diff stream is cut short")
        return data

    def expect_end(self) -> None:
        if self._decompress(1) or not self._decoder.eof:
            raise PatchRefused("the diff stream is longer than the control stream names")

    def _decompress(self, length: int) -> bytes:
        if self._decoder.eof or not length:
            return b""
        given, self._input = self._input, b""
        try:
            return self._decoder.decompress(given, max_length=length)
        except (OSError, EOFError, ValueError) as error:
            raise PatchRefused("the diff stream is damaged") from error


def _steps(length: int) -> list[int]:
    whole, rest = divmod(length, _STEP_BYTES)
    return [_STEP_BYTES] * whole + ([rest] if rest else [])


def _add(diff: bytes, base: memoryview) -> bytes:
    """Byte-wise sum modulo 256, all bytes at once: the top bit of each byte is added without its carry."""
    if diff.count(0) == len(diff):
        return bytes(base)
    a, b = int.from_bytes(diff, "little"), int.from_bytes(base, "little")
    total = ((a & _MASK_7F) + (b & _MASK_7F)) ^ ((a ^ b) & _MASK_80)
    return total.to_bytes(len(diff), "little")
