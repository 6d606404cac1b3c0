"""A program: bytes at addresses of an ECU's memory, whatever file they came from.

    program = Program.of([Segment(0x0800_0000, vectors), Segment(0x0800_0200, code)], ProgramFormat.ELF)
    address, binary = program.contiguous(fill=0xFF, max_bytes=0x100000)

Rules:

* Segments are sorted by address, do not overlap, and adjacent ones are joined, so that one program has one form: an Intel HEX
  file and an S-record file of the same memory give equal segments.
* Data that the file stores compressed or encrypted (``data_format``) have the ECU's own form, and their length is not that in
  memory: they can be sent to an ECU, but not laid out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from otabench.proto.program_format import MAX_ADDRESS
from otabench.proto.program_format import ProgramFormat as ProgramFormat  # part of this module's interface


class MalformedProgram(Exception):
    """The contents of a program file are wrong.

    Attributes:
        format: the format as which the file was read.
        where: the place in the file, e.g. "line 3"; may be empty.
        problem: what is wrong there.
        remedy: what to do; may be empty.
    """

    def __init__(self, format: ProgramFormat, where: str, problem: str, remedy: str = "") -> None:
        self.format, self.where, self.problem, self.remedy = format, where, problem, remedy
        place = f", {where}" if where else ""
        super().__init__(f"{format}{place}: {problem}" + (f"; {remedy}" if remedy else ""))


@dataclass(frozen=True, slots=True)
class Segment:
    """Contiguous bytes of memory, from ``address`` on.

    Attributes:
        data_format: dataFormatIdentifier of RequestDownload (34); 0: ``data`` are neither compressed nor encrypted.
    """

    address: int
    data: bytes
    data_format: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.data)

    def __str__(self) -> str:
        return f"0x{self.address:08X} to 0x{self.end - 1:08X}"


@dataclass(frozen=True, slots=True)
class EraseRange:
    """Memory that the file asks to erase, which may be more than its segments (VBF's erase list, ODX-F's ERASE blocks)."""

    address: int
    length: int


@dataclass(frozen=True, slots=True)
class Program:
    """Segments and what else a file states about them.

    Attributes:
        segments: sorted by address, without overlap, adjacent ones joined.
        format: of the file.
        start: the entry point, or VBF's call address; None if the file has none.
        erase: as the file lists it; empty where the format has no such list.
        fields: further statements of the file, e.g. VBF's sw_part_number, by name.
        records: address and data of each line, in the order of the file, where the file consists of records.
    """

    segments: tuple[Segment, ...]
    format: ProgramFormat
    start: int | None = None
    erase: tuple[EraseRange, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    records: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def of(
        cls,
        segments: Iterable[Segment],
        format: ProgramFormat,
        *,
        start: int | None = None,
        erase: Iterable[EraseRange] = (),
        fields: Mapping[str, str] | None = None,
        records: Iterable[tuple[int, bytes]] = (),
    ) -> Self:
        """Make a program from segments in any order.

        Raises:
            MalformedProgram: there are none, two overlap, or one ends behind the last address.
        """
        given = sorted((each for each in segments if each.data), key=lambda each: each.address)
        if not given:
            raise MalformedProgram(format, "", "it holds no data", "give a file with a program")
        if given[-1].end - 1 > MAX_ADDRESS:
            raise MalformedProgram(format, "", f"data at {given[-1]} are outside a memory of 4 GiB")
        for before, after in pairwise(given):
            # Encoded data do not occupy their length in memory, so that lengths cannot show an overlap.
            if not before.data_format and after.address < before.end:
                raise MalformedProgram(
                    format, "", f"data at {before} and {after} overlap", "link the parts to different addresses"
                )
        return cls(tuple(_join(given)), format, start, tuple(erase), dict(fields or {}), tuple(records))

    @property
    def is_encoded(self) -> bool:
        """Whether data are compressed or encrypted in the ECU's own form."""
        return any(each.data_format for each in self.segments)

    @property
    def length_bytes(self) -> int:
        """The sum of all segments."""
        return sum(len(each.data) for each in self.segments)

    def contiguous(self, *, fill: int, max_bytes: int) -> tuple[int, bytes]:
        """Lay the segments out in one range; gaps hold ``fill``.

        Returns:
            The address of the first byte, and all bytes.

        Raises:
            MalformedProgram: the range is longer than ``max_bytes``, or the data are encoded.
        """
        for each in self.segments:
            if each.data_format:
                raise MalformedProgram(
                    self.format,
                    "",
                    f"its data are compressed or encrypted for the ECU (data format 0x{each.data_format:02X})",
                    "an image needs the plain binary",
                )
        first, end = self.segments[0].address, self.segments[-1].end
        if end - first > max_bytes:
            widest = max(pairwise(self.segments), key=lambda pair: pair[1].address - pair[0].end, default=None)
            problem = f"its data span {end - first} bytes, from 0x{first:08X} to 0x{end - 1:08X}; {max_bytes} bytes fit"
            if widest is not None and self.length_bytes <= max_bytes:
                gap = f"the widest gap is 0x{widest[0].end:08X} to 0x{widest[1].address - 1:08X}"
                raise MalformedProgram(self.format, "", f"{problem}; {gap}", "leave out what is not flash")
            raise MalformedProgram(self.format, "", problem)
        out = bytearray([fill]) * (end - first)
        for each in self.segments:
            out[each.address - first : each.end - first] = each.data
        return first, bytes(out)

    def require_within(self, address: int, size_bytes: int) -> None:
        """Check that every segment lies in one memory.

        Raises:
            MalformedProgram: a segment does not.
        """
        for each in self.segments:
            if each.address < address or each.end > address + size_bytes:
                memory = f"0x{address:08X} to 0x{address + size_bytes - 1:08X}"
                raise MalformedProgram(
                    self.format, "", f"data at {each} are outside the memory {memory}", "check the linker's memory map"
                )


def _join(segments: list[Segment]) -> Iterable[Segment]:
    run = [segments[0]]
    for each in segments[1:]:
        if each.address != run[-1].end or each.data_format or run[-1].data_format:
            yield Segment(run[0].address, b"".join(part.data for part in run), run[0].data_format)
            run = []
        run.append(each)
    yield Segment(run[0].address, b"".join(part.data for part in run), run[0].data_format)
