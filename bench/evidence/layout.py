"""The layout of an evidence file's ZIP: each byte of it, apart from the compressed contents, follows from the entries' names and contents.

A ZIP has room for what no reader shows: times, comments, bytes between entries, a second copy of each header. ``problem`` makes the file
anew from its compressed contents and compares. The compressed contents themselves are not made anew, because another zlib may compress
otherwise; what they unpack to is in the manifest. (Up to seven bits behind the end of a compressed content mean nothing and stay free.)

The fields are those of the ZIP file format specification (APPNOTE.TXT 6.3, sections 4.3.7, 4.3.12 and 4.3.16).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The first date that a ZIP can hold."""
_DOS_DATE: Final = 1 << 5 | 1
"""1 January 1980, as the format holds it; the time is 0."""
_VERSION: Final = 20
"""Needed to extract: 2.0, deflate."""
_UNIX: Final = 3
_MODE: Final = 0o644 << 16
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s2B5H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")


def entry(name: str) -> zipfile.ZipInfo:
    """Return the entry with which a part is written."""
    made = zipfile.ZipInfo(name, _EPOCH)
    made.compress_type = zipfile.ZIP_DEFLATED
    made.create_system = _UNIX
    made.external_attr = _MODE
    return made


def problem(content: bytes, entries: Sequence[zipfile.ZipInfo], *, order: Sequence[str]) -> str:
    """Return what about the ZIP is not as ``entry`` and the order demand; empty if nothing is.

    Args:
        content: the whole file.
        entries: its entries, whose contents were read and fit their checksums.
        order: the names in the order in which they are written.
    """
    names = [each.filename for each in entries]
    if names != list(order):
        moved = next(name for name, expected in zip(names, order, strict=True) if name != expected)
        return f"{moved} is not in its place: the entries were put into another order"
    position, central = 0, b""
    for each in entries:
        name = each.filename.encode()
        sizes = (each.CRC, each.compress_size, each.file_size)
        local = _LOCAL.pack(b"PK\3\4", _VERSION, 0, zipfile.ZIP_DEFLATED, 0, _DOS_DATE, *sizes, len(name), 0)
        central += (
            _CENTRAL.pack(
                b"PK\1\2", _VERSION, _UNIX, _VERSION, 0, zipfile.ZIP_DEFLATED, 0, _DOS_DATE, *sizes,
                len(name), 0, 0, 0, 0, _MODE, position,
            )
            + name
        )  # fmt: skip
        start = position + len(local) + len(name)
        position_after = start + each.compress_size
        if content[position:start] != local + name:
            return f"the header of {each.filename} was changed"
        if not _is_whole(content[start:position_after]):
            return f"there are bytes behind the contents of {each.filename}"
        position = position_after
    end = _END.pack(b"PK\5\6", 0, 0, len(names), len(names), len(central), position, 0)
    if content[position:] != central + end:
        return "the list of the entries at the end of the file was changed"
    return ""


def _is_whole(stream: bytes) -> bool:
    """Return whether a compressed content ends with the stream."""
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = b"begin"
    while not reader.eof and (stream or unpacked):
        # In pieces: the contents were unpacked once already, and need not be in memory a second time.
        unpacked = reader.decompress(stream, 1 << 20)
        stream = reader.unconsumed_tail
    return reader.eof and not reader.unused_data
