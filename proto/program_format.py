"""The formats of program files, and how to recognize them by content.

    recognize(b":020000040800F2\n…")        # ProgramFormat.INTEL_HEX

Both ends need this: the bench, which reads the files (``bench.firmware.programs``), and the cloud, which signs what the operator states
about them. The name of a file is not looked at. Contents that are known not to be a program (an archive, a picture, a text) are refused
with what they are, because signed as bytes they would be accepted everywhere and run nowhere.
"""

from __future__ import annotations

import string
import struct
from enum import StrEnum
from typing import Final

from otabench.proto import image_format

MAX_ADDRESS: Final = 0xFFFF_FFFF
"""The formats have addresses of at most four bytes, as RequestDownload of nearly every ECU."""
_PEEK_BYTES: Final = 4096
MCUBOOT_MAGIC: Final = struct.pack("<I", image_format.IMAGE_MAGIC)
_FOREIGN: Final = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"%PDF", "a PDF document"),
    (b"UF2\n", "a UF2 file"),
    (b"!<arch>\n", "a static library"),
    (b"SQLite format 3", "an SQLite database"),
    (b"-----BEGIN", "a PEM file (a key or certificate)"),
)
_TEXT: Final = frozenset(string.printable.encode("ascii"))


class ProgramFormat(StrEnum):
    """The format of a program file; the value is its name in messages and in signed metadata."""

    RAW = "raw binary"
    INTEL_HEX = "Intel HEX"
    S_RECORD = "S-record"
    ELF = "ELF"
    VBF = "VBF"
    ODX_F = "ODX-F"
    PDX = "PDX"
    MCUBOOT = "MCUboot image"


class NotAProgram(ValueError):
    """The contents have a format that is not a program's.

    Attributes:
        problem: what they are.
        remedy: what to do.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(f"{problem}; {remedy}")


def recognize(data: bytes) -> ProgramFormat:
    """Return the format that the contents have; RAW for bytes of no known format.

    Raises:
        NotAProgram: they have a format that is not a program's.
    """
    head = data[:_PEEK_BYTES]
    if head.startswith(MCUBOOT_MAGIC):
        return ProgramFormat.MCUBOOT
    if head.startswith(b"\x7fELF"):
        return ProgramFormat.ELF
    if head.startswith(b"PK\x03\x04"):
        if b".odx" in data.lower() or b"index.xml" in data.lower():
            return ProgramFormat.PDX
        raise NotAProgram("it is a ZIP archive without a flash container (.odx-f)", "unpack it first")
    for magic, words in _FOREIGN:
        if head.startswith(magic):
            raise NotAProgram(f"it is {words}", "give the program itself, or --raw to take it as it is")
    return _text_format(head)


def _text_format(head: bytes) -> ProgramFormat:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"<?xml", b"<ODX")):
        if b"<ODX" in text:
            return ProgramFormat.ODX_F
        raise NotAProgram("it is an XML file, and not ODX", "give the program itself")
    first = text.split(maxsplit=1)[0] if text else b""
    if first.startswith(b":") and _is_hex(first[1:9]):
        return ProgramFormat.INTEL_HEX
    if first[:1] == b"S" and first[1:2].isdigit() and _is_hex(first[2:6]):
        return ProgramFormat.S_RECORD
    if text.startswith((b"vbf_version", b"//", b"/*")) and b"vbf_version" in text:
        return ProgramFormat.VBF
    if head and _TEXT.issuperset(head):
        raise NotAProgram(
            "it is a text, of no format that is known here",
            "known: Intel HEX, S-record, ELF, VBF, ODX-F, PDX; --raw takes it as it is",
        )
    return ProgramFormat.RAW


def _is_hex(text: bytes) -> bool:
    return len(text) >= 4 and all(chr(each) in string.hexdigits for each in text)
