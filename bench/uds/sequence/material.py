"""The data that a sequence flashes: blocks of memory, each with its address, its data and the facts of its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, model_validator

from otabench.bench.uds.sequence import image_checksums
from otabench.bench.uds.sequence.image_checksums import ImageChecksum


class BlockKind(StrEnum):
    """The purpose of a block. A sequence may loop over the blocks of one kind."""

    APPLICATION = "application"
    DRIVER = "driver"
    """A flash driver or secondary bootloader, loaded into RAM before anything is erased."""
    METADATA = "metadata"


@dataclass(frozen=True)
class Block:
    """One contiguous piece of the ECU's memory.

    Attributes:
        address: its address in memory.
        data: the bytes to send; compressed or encrypted if ``data_format`` is not 0.
        kind: its purpose.
        data_format: dataFormatIdentifier of RequestDownload (34).
        memory_length: its length in the ECU. None: the length of ``data``.
        block_id: its identifier, if the ECU numbers its memory.
        checksum_data: the bytes that checksums cover, if not ``data``: the plain bytes of a compressed block.
        records: the records of the file for this block (S-record lines with address and data), if they are sent as they are.
    """

    address: int
    data: bytes
    kind: BlockKind = BlockKind.APPLICATION
    data_format: int = 0
    memory_length: int | None = None
    block_id: int = 0
    checksum_data: bytes | None = None
    records: tuple[tuple[int, bytes], ...] = ()

    @property
    def length_in_memory(self) -> int:
        return len(self.data) if self.memory_length is None else self.memory_length

    @property
    def counted(self) -> bytes:
        """The bytes that checksums cover."""
        return self.data if self.checksum_data is None else self.checksum_data


@dataclass(frozen=True)
class EraseArea:
    """Memory to erase, if the file lists it separately from its blocks."""

    address: int
    length: int


@dataclass(frozen=True)
class Material:
    """The data of one update of one ECU.

    Attributes:
        blocks: the blocks, in the order of sending.
        erase: the areas to erase. Empty: the areas of the application blocks.
        start_address: the address at which a loaded driver starts.
        settings: texts that templates use by name: tester serial number, workshop code, fields of the file.
        signatures: signatures of blocks, by their index in ``blocks``.
    """

    blocks: tuple[Block, ...]
    erase: tuple[EraseArea, ...] = ()
    start_address: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    signatures: dict[int, bytes] = field(default_factory=dict)

    def of_kind(self, kind: BlockKind | None) -> tuple[Block, ...]:
        """Return the blocks of one kind, or all blocks for None."""
        return tuple(block for block in self.blocks if kind in (None, block.kind))

    def areas(self) -> tuple[EraseArea, ...]:
        """Return the areas to erase."""
        own = tuple(EraseArea(block.address, block.length_in_memory) for block in self.of_kind(BlockKind.APPLICATION))
        return self.erase or own


class Area(BaseModel):
    """A part of the ECU's memory that is sent as a block of its own. A program file is cut at its borders.

    Attributes:
        address, length: where it is.
        kind: of its blocks: a file may contain the driver for RAM beside the application.
        id: the ECU's number for it, if it numbers its memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: int = Field(ge=0, lt=2**64)
    length: int = Field(ge=1, lt=2**64)
    kind: BlockKind = BlockKind.APPLICATION
    id: int | None = Field(default=None, ge=0, lt=2**32)

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.length


class Layout(BaseModel):
    """How an ECU expects its blocks: in whole units of flash, and as few as possible.

    Attributes:
        areas: parts of the memory that are blocks of their own.
        fill: the byte that fills gaps and ends.
        max_gap_bytes: two blocks with at most this gap are joined.
        align_bytes: blocks begin and end at multiples of it, because many flash controllers write only whole words or pages.
        erase_sector_bytes: areas to erase begin and end at multiples of it.
        image_checksums: checksums inside the program (see ``image_checksums``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill: int = Field(default=0xFF, ge=0, le=0xFF)
    max_gap_bytes: int = Field(default=0, ge=0, le=1 << 24)
    align_bytes: int = Field(default=1, ge=1, le=1 << 20)
    erase_sector_bytes: int = Field(default=1, ge=1, le=1 << 24)
    areas: tuple[Area, ...] = ()
    image_checksums: tuple[ImageChecksum, ...] = ()

    @model_validator(mode="after")
    def _areas_apart(self) -> Layout:
        for before, after in pairwise(sorted(self.areas, key=lambda area: area.address)):
            if after.address < before.end:
                raise ValueError(f"areas: those at 0x{before.address:X} and 0x{after.address:X} overlap")
        return self


def lay_out(material: Material, layout: Layout) -> Material:
    """Return the material with its blocks cut at areas, application blocks aligned and joined, and areas to erase in whole sectors.

    Compressed or encrypted blocks stay as they are, because their bytes are not the bytes of the memory. Drivers in RAM stay as they are,
    too, and so do the records of a file: what fills gaps is not among them.

    Raises:
        ImageChecksumError: the program does not carry a checksum that the layout requires.
    """
    cut = [part for block in material.blocks for part in _cut(block, layout.areas)]
    drivers = [block for block in cut if block.kind is not BlockKind.APPLICATION]
    blocks = drivers + _joined([block for block in cut if block.kind is BlockKind.APPLICATION], layout)
    laid = replace(material, blocks=tuple(_with_checksums(blocks, layout)))
    return replace(laid, erase=tuple(_sectors(laid.areas(), layout.erase_sector_bytes)))


def _with_checksums(blocks: list[Block], layout: Layout) -> list[Block]:
    """Return the blocks with the checksums that the layout names.

    Only plain blocks are changed: the bytes of a compressed block do not lie at the addresses of the memory.
    """
    if not layout.image_checksums:
        return blocks
    plain = [
        block for block in blocks if block.kind is BlockKind.APPLICATION and not (block.data_format or block.records)
    ]
    filled = iter(image_checksums.apply(layout.image_checksums, [(block.address, block.data) for block in plain]))
    return [replace(block, data=next(filled)) if block in plain else block for block in blocks]


def _cut(block: Block, areas: Sequence[Area]) -> list[Block]:
    """Cut a block at the borders of the areas. Each part gets the kind and the number of its area."""
    if block.kind is not BlockKind.APPLICATION or not areas:
        return [block]
    if block.data_format:
        # A compressed or encrypted block cannot be cut at an address. It belongs to an area as a whole.
        return [_in_area(block, next((area for area in areas if area.address <= block.address < area.end), None))]
    borders = {border for area in areas for border in (area.address, area.end)}
    cuts = sorted({block.address, _end(block), *(each for each in borders if block.address < each < _end(block))})
    parts = []
    for start, end in pairwise(cuts):
        part = replace(
            block,
            address=start,
            data=block.data[start - block.address : end - block.address],
            records=tuple(record for record in block.records if start <= record[0] < end),
        )
        parts.append(_in_area(part, next((area for area in areas if area.address <= start < area.end), None)))
    return parts


def _in_area(block: Block, area: Area | None) -> Block:
    if area is None:
        return block
    return replace(block, kind=area.kind, block_id=block.block_id if area.id is None else area.id)


def _joined(blocks: Iterable[Block], layout: Layout) -> list[Block]:
    joined: list[Block] = []
    for block in blocks:
        new = block if block.data_format else _aligned(block, layout)
        last = joined[-1] if joined else None
        plain = last is not None and not (last.data_format or new.data_format)
        # Parts of a block that was cut meet at the border of an area: there they stay apart.
        plain = plain and not any(block.address in (area.address, area.end) for area in layout.areas)
        if last is not None and plain and new.address - _end(last) <= layout.max_gap_bytes:
            joined[-1] = _one(last, new, layout.fill)
        else:
            joined.append(replace(new, block_id=block.block_id))
    return joined


def _aligned(block: Block, layout: Layout) -> Block:
    unit, fill = layout.align_bytes, bytes((layout.fill,))
    before = block.address % unit
    data = fill * before + block.data
    data += fill * (-len(data) % unit)
    return replace(block, address=block.address - before, data=data)


def _one(first: Block, second: Block, fill: int) -> Block:
    """Join two blocks. If alignment made them overlap, bytes of the program replace the fill bytes of the other block."""
    records = first.records + second.records
    gap = second.address - _end(first)
    if gap >= 0:
        return replace(first, data=first.data + bytes((fill,)) * gap + second.data, records=records)
    shared = -gap
    ours, theirs = first.data[-shared:], second.data[:shared]
    mixed = bytes(a if b == fill else b for a, b in zip(ours, theirs, strict=True))
    return replace(first, data=first.data[:-shared] + mixed + second.data[shared:], records=records)


def _end(block: Block) -> int:
    return block.address + len(block.data)


def _sectors(areas: Iterable[EraseArea], sector: int) -> list[EraseArea]:
    """Return the areas extended to whole sectors. Each sector occurs once."""
    whole: list[EraseArea] = []
    for area in sorted(areas, key=lambda each: each.address):
        start = area.address // sector * sector
        end = -(-(area.address + area.length) // sector) * sector  # rounded up
        # Areas that touch or share a sector become one, so that no sector is erased twice. With 1 byte nothing is rounded or joined.
        if whole and start <= whole[-1].address + whole[-1].length and sector > 1:
            first = whole.pop()
            start, end = first.address, max(end, first.address + first.length)
        whole.append(EraseArea(start, end - start))
    return whole
