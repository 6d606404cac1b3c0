"""Group a captured session into downloads, and reconstruct the blocks that they sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otabench.bench.uds.draft.heard import Heard
from otabench.bench.uds.sequence.material import Block, BlockKind

_ERASE: Final = b"\x31\x01\xff\x00"


@dataclass(frozen=True)
class Download:
    """The exchanges of one download: 34, what came between, 36 …, 37."""

    request: Heard
    between: list[Heard]
    transfers: list[Heard]
    exit: Heard | None


def group(heard: Sequence[Heard]) -> list[Heard | Download]:
    """Put the exchanges of each download together.

    Exchanges between 34 and the first 36 belong to the download. One between two 36, such as a physical 3E, ends it: the further 36 stay
    single exchanges. A 34 after which nothing was sent is left out, with its 37.
    """
    grouped: list[Heard | Download] = []
    at = 0
    while at < len(heard):
        if heard[at].sid != 0x34 or not heard[at].is_positive:
            grouped.append(heard[at])
            at += 1
            continue
        request, at = heard[at], at + 1
        between, transfers = [], []
        while at < len(heard) and heard[at].sid not in (0x34, 0x36, 0x37):
            between.append(heard[at])
            at += 1
        while at < len(heard) and heard[at].sid == 0x36:
            transfers.append(heard[at])
            at += 1
        end = heard[at] if at < len(heard) and heard[at].sid == 0x37 else None
        if end is not None:
            at += 1
        if transfers:
            grouped.append(Download(request, between, _once(transfers), end))
        else:
            grouped += between
    return grouped


def _once(transfers: Sequence[Heard]) -> list[Heard]:
    """Leave out repeated transfers: a 36 with the same counter as the one before.

    A tester repeats a 36 whose response was lost. The counter of a new block always differs, also where FF is followed by 00
    (ISO 14229-1, service 36).
    """
    return [
        each
        for number, each in enumerate(transfers)
        if not number or each.request[1] != transfers[number - 1].request[1]
    ]


def blocks_of(grouped: Sequence[Heard | Download], known: Sequence[Block]) -> list[Block]:
    """Return the block of each download: the block of the program files with the same data, else a block made from the transferred data.

    A block that was sent before the first erase is taken as a driver. In a session without any erase, all blocks are application.
    """
    blocks: list[Block] = []
    erased = not any(isinstance(each, Heard) and each.request[:4] == _ERASE for each in grouped)
    for each in grouped:
        if isinstance(each, Heard):
            erased = erased or each.request[:4] == _ERASE
            continue
        data = b"".join(transfer.request[2:] for transfer in each.transfers)
        found = next((block for block in known if block.data == data or _is_in_records(block, each)), None)
        if found is not None:
            blocks.append(found)
            continue
        address, size, width = memory_of(each.request.request)
        # A bootloader with numbered blocks has the number in place of the address, in one byte (profile block-ids).
        kind = BlockKind.APPLICATION if erased else BlockKind.DRIVER
        blocks.append(
            Block(
                address, data, kind, each.request.request[1], memory_length=size, block_id=address if width == 1 else 0
            )
        )
    return blocks


def _is_in_records(block: Block, download: Download) -> bool:
    return (
        bool(block.records)
        and len(block.records) == len(download.transfers)
        and all(data in transfer.request for (_, data), transfer in zip(block.records, download.transfers, strict=True))
    )


def memory_of(request: bytes) -> tuple[int, int, int]:
    """Return address, size and the address's width of a request for a download (34)."""
    widths = request[2] if len(request) > 2 else 0
    address_bytes, size_bytes = widths & 0xF, widths >> 4
    address = int.from_bytes(request[3 : 3 + address_bytes], "big")
    return address, int.from_bytes(request[3 + address_bytes : 3 + address_bytes + size_bytes], "big"), address_bytes
