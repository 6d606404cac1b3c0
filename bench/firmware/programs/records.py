"""Read Intel HEX and Motorola S-record files. bincopy decodes each record; the rules of the file are here.

Rules:

* Every line is a record, or blank. An error names its line.
* The last record is the end-of-file or termination record. Without it the file is cut short: refused, because a build or copy that
  stopped early would otherwise be signed.
* An S5 or S6 record counts the data records before it, and must be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import bincopy

from otabench.bench.firmware.programs.program import MalformedProgram, Program, ProgramFormat, Segment

_CUT_SHORT: Final = "is the file complete?"
_EXPORT_AGAIN: Final = "export it again"


def read_intel_hex(data: bytes) -> Program:
    """Read an Intel HEX file with 16, 20 or 32 bit addresses.

    Raises:
        MalformedProgram: a record is wrong, data overlap, or the end-of-file record is missing.
    """
    form = ProgramFormat.INTEL_HEX
    segments: list[Segment] = []
    start, base, ended = None, 0, 0
    for number, line in _lines(data, form):
        if ended:
            raise MalformedProgram(form, f"line {number}", f"it follows the end-of-file record of line {ended}")
        try:
            kind, address, _, payload = bincopy.unpack_ihex(line)
        except (bincopy.Error, ValueError) as error:
            raise MalformedProgram(form, f"line {number}", _words(error), _EXPORT_AGAIN) from error
        if kind == bincopy.IHEX_DATA:
            _append(segments, Segment(base + address, bytes(payload)), form, number)
        elif kind == bincopy.IHEX_END_OF_FILE:
            ended = number
        elif kind == bincopy.IHEX_EXTENDED_SEGMENT_ADDRESS and len(payload) == 2:
            base = int.from_bytes(payload, "big") << 4
        elif kind == bincopy.IHEX_EXTENDED_LINEAR_ADDRESS and len(payload) == 2:
            base = int.from_bytes(payload, "big") << 16
        elif kind in (bincopy.IHEX_START_SEGMENT_ADDRESS, bincopy.IHEX_START_LINEAR_ADDRESS) and len(payload) == 4:
            start = int.from_bytes(payload, "big")
        else:
            raise MalformedProgram(form, f"line {number}", f"record type {kind:02X} with {len(payload)} bytes")
    if not ended:
        raise MalformedProgram(form, "", "the end-of-file record (:00000001FF) is missing", _CUT_SHORT)
    return Program.of(segments, form, start=start, records=_records(segments))


def read_s_record(data: bytes) -> Program:
    """Read a Motorola S-record file (S19, S28, S37). The text of S0 is in ``fields["header"]``.

    Raises:
        MalformedProgram: a record is wrong, data overlap, the count differs, or the termination record is missing.
    """
    form = ProgramFormat.S_RECORD
    segments: list[Segment] = []
    start, records, ended = None, 0, 0
    fields: dict[str, str] = {}
    for number, line in _lines(data, form):
        if ended:
            raise MalformedProgram(form, f"line {number}", f"it follows the termination record of line {ended}")
        try:
            kind, address, _, payload = bincopy.unpack_srec(line)
        except (bincopy.Error, ValueError, IndexError) as error:
            raise MalformedProgram(form, f"line {number}", _words(error), _EXPORT_AGAIN) from error
        if kind == "0":
            fields["header"] = bytes(payload).rstrip(b"\0").decode("ascii", "backslashreplace")
        elif kind in "123":
            records += 1
            _append(segments, Segment(address, bytes(payload)), form, number)
        elif kind in "56":
            if address != records:
                raise MalformedProgram(
                    form, f"line {number}", f"it counts {address} data records, and there are {records}", _CUT_SHORT
                )
        else:  # 7, 8, 9: the termination records of S3, S2 and S1
            start, ended = address, number
    if not ended:
        raise MalformedProgram(form, "", "the termination record (S7, S8 or S9) is missing", _CUT_SHORT)
    return Program.of(segments, form, start=start, fields=fields, records=_records(segments))


def _lines(data: bytes, form: ProgramFormat) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(data.splitlines(), start=1):
        # Editors and terminals append these: DOS's end of file, and the byte order mark of UTF-8.
        line = line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\x1a\0")
        if line:
            try:
                yield number, line.decode("ascii")
            except UnicodeDecodeError as error:
                raise MalformedProgram(form, f"line {number}", "it is not text", _EXPORT_AGAIN) from error


def _append(segments: list[Segment], new: Segment, form: ProgramFormat, number: int) -> None:
    # Compared with the record before only, so that the line can be named where a record is doubled. Program.of finds all others.
    if segments and new.data and segments[-1].address < new.end and new.address < segments[-1].end:
        raise MalformedProgram(form, f"line {number}", f"data at {new} overlap the record before, {segments[-1]}")
    segments.append(new)


def _records(segments: list[Segment]) -> list[tuple[int, bytes]]:
    return [(each.address, each.data) for each in segments]


def _words(error: Exception) -> str:
    if isinstance(error, bincopy.Error):
        return str(error)
    return "it does not consist of pairs of hexadecimal digits"
