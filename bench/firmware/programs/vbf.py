"""Read VBF files (Versatile Binary Format of Ford, Volvo and Jaguar Land Rover), versions 2.2 to 3.0.

A VBF file is a text header, ``vbf_version = 2.6; header { name = value; … }``, followed by blocks: address and length of four bytes each,
the data, and a CRC-16/CCITT-FALSE of the data before compression, all big-endian. ``file_checksum`` is the CRC-32 of all bytes
behind the header. (Convention, read from public readers and writers: there is no freely readable specification.)

Rules:

* A block's CRC is checked where the data are not compressed or encrypted: otherwise only the ECU holds the bytes that the CRC covers.
* The erase list is the file's own: it may cover more than the blocks, and an ECU may refuse blocks outside it.
"""

from __future__ import annotations

import binascii
import re
import struct
from typing import Final

from otabench.bench.firmware.programs.program import EraseRange, MalformedProgram, Program, ProgramFormat, Segment

_FORM: Final = ProgramFormat.VBF
_BLOCK: Final = struct.Struct(">II")
_TOKEN: Final = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|[{}=;,]|[^\s{}=;,"]+', re.DOTALL)
_MAX_HEADER_BYTES: Final = 1 << 20
_CRC_INIT: Final = 0xFFFF

Value = str | list["Value"]


def read_vbf(data: bytes) -> Program:
    """Read a VBF file: header fields in ``fields``, its call address as ``start``, its erase list.

    Raises:
        MalformedProgram: the header cannot be read, a checksum is wrong, the file is cut short, or blocks overlap.
    """
    version, header, end = _header(data)
    data_format = _number(header.get("data_format_identifier", "0"), "data_format_identifier")
    _check_file(data[end:], header)
    fields = {"vbf_version": version}
    fields.update((name, value) for name, value in header.items() if isinstance(value, str))
    call = header.get("call")
    return Program.of(
        _blocks(data, end, data_format=data_format),
        _FORM,
        start=None if call is None else _number(call, "call"),
        erase=_erase(header.get("erase", [])),
        fields=fields,
    )


def _header(data: bytes) -> tuple[str, dict[str, Value], int]:
    """Return the version, the fields, and the offset of the first byte behind the header."""
    # latin-1 keeps byte offsets: each byte is one character
    text = data[:_MAX_HEADER_BYTES].decode("latin-1")
    tokens = _Tokens(text)
    version = ""
    while (name := tokens.next()) != "header":
        tokens.expect("=")
        value = tokens.value()
        tokens.expect(";")
        if name == "vbf_version" and isinstance(value, str):
            version = value
    tokens.expect("{")
    fields: dict[str, Value] = {}
    while (name := tokens.next()) != "}":
        tokens.expect("=")
        fields[name] = tokens.value()
        tokens.expect(";")
    return version, fields, tokens.offset


class _Tokens:
    """The words of the header, without comments."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.offset = 0

    def next(self) -> str:
        while self.offset < len(self._text):
            if self._text[self.offset].isspace():
                self.offset += 1
                continue
            found = _TOKEN.match(self._text, self.offset)
            if found is None:
                break
            self.offset = found.end()
            if not found[0].startswith(("//", "/*")):
                return found[0]
        line = self._text.count("\n", 0, self.offset) + 1
        raise MalformedProgram(_FORM, f"line {line}", "the header does not end", "is the file complete?")

    def expect(self, wanted: str) -> None:
        if (found := self.next()) != wanted:
            line = self._text.count("\n", 0, self.offset) + 1
            raise MalformedProgram(_FORM, f"line {line}", f"{found[:40]!r} where {wanted!r} belongs")

    def value(self, depth: int = 0) -> Value:
        token = self.next()
        if token != "{":
            return token.strip('"')
        if depth > 2:  # the deepest list of the format is a list of pairs
            raise MalformedProgram(_FORM, "header", "lists are nested too deep")
        items: list[Value] = []
        while True:
            if self._peek() == "}":
                self.next()
                return items
            items.append(self.value(depth + 1))
            if self._peek() == ",":
                self.next()

    def _peek(self) -> str:
        at = self.offset
        token = self.next()
        self.offset = at
        return token


def _blocks(data: bytes, offset: int, *, data_format: int) -> list[Segment]:
    blocks: list[Segment] = []
    while offset < len(data):
        where = f"block {len(blocks)}"
        if offset + _BLOCK.size > len(data):
            raise MalformedProgram(_FORM, where, f"only {len(data) - offset} bytes are left", "is the file complete?")
        address, length = _BLOCK.unpack_from(data, offset)
        begin = offset + _BLOCK.size
        offset = begin + length + 2
        if offset > len(data):
            problem = f"{length} bytes at 0x{address:08X} are announced, and the file ends after {len(data) - begin}"
            raise MalformedProgram(_FORM, where, problem, "is the file complete?")
        block = data[begin : begin + length]
        stated, counted = int.from_bytes(data[offset - 2 : offset], "big"), binascii.crc_hqx(block, _CRC_INIT)
        if not data_format and stated != counted:
            raise MalformedProgram(
                _FORM, where, f"its CRC-16 is {counted:04X}, and the file states {stated:04X}", "get the file again"
            )
        blocks.append(Segment(address, block, data_format))
    return blocks


def _check_file(blocks: bytes, header: dict[str, Value]) -> None:
    if "file_checksum" not in header:
        return
    stated, counted = _number(header["file_checksum"], "file_checksum"), binascii.crc32(blocks)
    if stated != counted:
        raise MalformedProgram(
            _FORM,
            "file_checksum",
            f"the CRC-32 of the blocks is {counted:08X}, and the file states {stated:08X}",
            "get the file again",
        )


def _erase(value: Value) -> list[EraseRange]:
    ranges = []
    for each in value if isinstance(value, list) else []:
        if not isinstance(each, list) or len(each) != 2:
            raise MalformedProgram(_FORM, "erase", "each entry is a pair of address and length")
        ranges.append(EraseRange(_number(each[0], "erase"), _number(each[1], "erase")))
    return ranges


def _number(value: Value, name: str) -> int:
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            pass
    raise MalformedProgram(_FORM, name, f"{value!r} is not a number")
