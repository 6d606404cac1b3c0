"""What a sequence flashes: the blocks of memory, each with its place, its data and what its file states about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class BlockKind(StrEnum):
    """What a block is for. A sequence may loop over one kind only."""

    APPLICATION = "application"
    DRIVER = "driver"
    """A flash driver or secondary bootloader, loaded into RAM before anything is erased."""
    METADATA = "metadata"


@dataclass(frozen=True)
class Block:
    """One contiguous piece of the ECU's memory.

    Attributes:
        address: where it belongs.
        data: what is sent; compressed or encrypted where ``data_format`` is not 0.
        kind: what it is for.
        data_format: dataFormatIdentifier of RequestDownload (34).
        memory_length: its length in the ECU; None: that of ``data``.
        block_id: its identifier, where the ECU numbers its memory.
        checksum_data: what checksums count, if not ``data``: the plain bytes of a compressed block.
        records: the file's own records of it (S-record lines with address and data), where those are sent instead of pieces.
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
        """The bytes that checksums count."""
        return self.data if self.checksum_data is None else self.checksum_data


@dataclass(frozen=True)
class EraseArea:
    """Memory to be erased, where the file lists it apart from its blocks."""

    address: int
    length: int


@dataclass(frozen=True)
class Material:
    """Everything of one update of one ECU.

    Attributes:
        blocks: in the order in which they are sent.
        erase: what is to be erased; empty: what the blocks occupy.
        start_address: where a loaded driver is started.
        settings: texts that templates use by name: tester serial number, workshop code, fields of the file.
        signatures: signature of a block, by its place among the blocks.
    """

    blocks: tuple[Block, ...]
    erase: tuple[EraseArea, ...] = ()
    start_address: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    signatures: dict[int, bytes] = field(default_factory=dict)

    def of_kind(self, kind: BlockKind | None) -> tuple[Block, ...]:
        """Return the blocks of one kind; all for None."""
        return tuple(block for block in self.blocks if kind in (None, block.kind))

    def areas(self) -> tuple[EraseArea, ...]:
        """Return what is to be erased."""
        own = tuple(EraseArea(block.address, block.length_in_memory) for block in self.of_kind(BlockKind.APPLICATION))
        return self.erase or own


class Layout(BaseModel):
    """How an ECU wants its blocks: whole units of flash, and few of them.

    Attributes:
        fill: the byte that fills gaps and ends.
        max_gap_bytes: two blocks that are no further apart become one.
        align_bytes: blocks begin and end at multiples: many flash controllers write words or pages only.
        erase_sector_bytes: areas to erase begin and end at multiples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fill: int = Field(default=0xFF, ge=0, le=0xFF)
    max_gap_bytes: int = Field(default=0, ge=0, le=1 << 24)
    align_bytes: int = Field(default=1, ge=1, le=1 << 20)
    erase_sector_bytes: int = Field(default=1, ge=1, le=1 << 24)


def lay_out(material: Material, layout: Layout) -> Material:
    """Return the material with its application blocks aligned and joined, and its areas to erase in whole sectors.

    Compressed or encrypted blocks stay as they are: their bytes are not those of the memory. So do records, and drivers in RAM.
    """
    blocks = [block for block in material.blocks if block.kind is not BlockKind.APPLICATION]
    blocks += _joined(material.of_kind(BlockKind.APPLICATION), layout)
    laid = replace(material, blocks=tuple(blocks))
    return replace(laid, erase=tuple(_sectors(laid.areas(), layout.erase_sector_bytes)))


def _joined(blocks: Iterable[Block], layout: Layout) -> list[Block]:
    joined: list[Block] = []
    for block in blocks:
        new = block if block.data_format or block.records else _aligned(block, layout)
        last = joined[-1] if joined else None
        plain = last is not None and not (last.data_format or new.data_format or last.records or new.records)
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
    """Return two blocks as one. Where alignment made them overlap, the bytes of the program win over the fill of the other."""
    gap = second.address - _end(first)
    if gap >= 0:
        return replace(first, data=first.data + bytes((fill,)) * gap + second.data)
    shared = -gap
    ours, theirs = first.data[-shared:], second.data[:shared]
    mixed = bytes(a if b == fill else b for a, b in zip(ours, theirs, strict=True))
    return replace(first, data=first.data[:-shared] + mixed + second.data[shared:])


def _end(block: Block) -> int:
    return block.address + len(block.data)


def _sectors(areas: Iterable[EraseArea], sector: int) -> list[EraseArea]:
    """Return areas in whole sectors, each sector once."""
    whole: list[EraseArea] = []
    for area in sorted(areas, key=lambda each: each.address):
        start = area.address // sector * sector
        end = -(-(area.address + area.length) // sector) * sector
        if whole and start <= whole[-1].address + whole[-1].length and sector > 1:
            first = whole.pop()
            start, end = first.address, max(end, first.address + first.length)
        whole.append(EraseArea(start, end - start))
    return whole
