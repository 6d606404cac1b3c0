"""The meaning of a request's bytes: numbers of a block, dates, checksums; and the names by which a profile computes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Final

import anycrc

from otabench.bench.uds.sequence.checksums import DIGESTS, CrcParameters, crc_over, digest
from otabench.bench.uds.sequence.material import Block, BlockKind

_DATES: Final = {
    "YYMMDD": "%y%m%d",
    "YYYYMMDD": "%Y%m%d",
    "DDMMYY": "%d%m%y",
    "DDMMYYYY": "%d%m%Y",
}
# Bootloaders in the field use these beside the catalogue.
_UNNAMED: Final = (CrcParameters(width=16, polynomial=0x3D65, reflect=True, xor_out=0xFFFF),)
_FIRST_CHOICE: Final = ("CRC32-ISO-HDLC", "CRC16-IBM-3740", "CRC16-IBM-SDLC")
"""Where several CRCs fit, the usual ones are meant: CRC-32, CRC-16/CCITT-FALSE, CRC-16/X-25."""


@dataclass(frozen=True)
class Explained:
    """A template, and how many of its bytes are fields."""

    text: str
    fields: int
    constants: int


@dataclass
class Explainer:
    """An explanation of bytes by the blocks of one session.

    Attributes:
        blocks: all of them, in the order in which they were sent.
        when: the day of the session.
        start_address: where a driver is started.
        values: what the templates need, by name: the ``values`` of the profile.
    """

    blocks: list[Block]
    when: datetime
    start_address: int | None = None
    values: dict[str, dict[str, object]] = field(default_factory=dict)

    def explain(self, data: bytes, block: int | None, *, before: bytes = b"", id_at: int | None = None) -> Explained:
        """Return a template for ``data``.

        Args:
            data: the bytes.
            block: the index of the block that they may describe; None if there is none.
            before: the bytes of the message in front of them.
            id_at: the index in ``data`` of the block's identifier, if it is known to be there.
        """
        parts: list[str] = []
        fields, at = 0, 0
        while at < len(data):
            if at == id_at and block is not None and data[at] == self.blocks[block].block_id:
                parts.append("{block_id:1}")
                fields, at = fields + 1, at + 1
                continue
            for width, text in self._candidates(data[at:], block, before + data[:at]):
                parts.append(text)
                fields += width
                at += width
                break
            else:
                parts.append(f"{data[at]:02X}")
                at += 1
        return Explained(" ".join(parts), fields, len(data) - fields)

    def _candidates(self, rest: bytes, block: int | None, before: bytes) -> Iterator[tuple[int, str]]:
        """Yield the width and field of each possible meaning, the most certain first."""
        yield from self._digests(rest, block)
        if block is not None:
            yield from _numbers(rest, self.blocks[block])
        if self.start_address is not None and rest[:4] == self.start_address.to_bytes(4, "big"):
            yield 4, "{start_address:4}"
        yield from self._dates(rest)
        # A CRC is the end of a message; elsewhere, two bytes equal one of a hundred CRCs by chance too often.
        if len(rest) in (2, 4):
            yield from self._checksums(rest, block, before)

    def _digests(self, rest: bytes, block: int | None) -> Iterator[tuple[int, str]]:
        for name in DIGESTS:
            for over, parts in self._scopes(block):
                made = digest(name, parts)
                if rest.startswith(made):
                    yield len(made), self._named(f"{over}_{name}", {"digest": name, "over": over})

    def _dates(self, rest: bytes) -> Iterator[tuple[int, str]]:
        for text, form in _DATES.items():
            made = self.when.strftime(form)
            if rest.startswith(made.encode("ascii")):
                yield len(made), self._named("written_on", {"date": text, "as": "ascii"})
            if rest.startswith(bytes.fromhex(made)):
                yield len(made) // 2, self._named("written_on", {"date": text, "as": "bcd"})

    def _checksums(self, rest: bytes, block: int | None, before: bytes) -> Iterator[tuple[int, str]]:
        for over, parts in [*self._scopes(block), ("message", [before])]:
            # a CRC of two bytes may be sent in four
            for skipped in (0, 2) if len(rest) == 4 and rest[:2] == b"\x00\x00" else (0,):
                found = _crc_of(rest[skipped:], parts)
                if found is not None:
                    spec: dict[str, object] = {"checksum": found, "over": over, **({"width": 4} if skipped else {})}
                    yield len(rest), self._named(f"{over}_crc", spec)
                    return

    def _scopes(self, block: int | None) -> list[tuple[str, list[bytes]]]:
        scopes: list[tuple[str, list[bytes]]] = []
        if block is not None:
            scopes.append(("block", [self.blocks[block].counted]))
        for kind in BlockKind:
            parts = [each.counted for each in self.blocks if each.kind is kind]
            if parts:
                scopes.append((kind.value, parts))
        return scopes

    def _named(self, name: str, spec: dict[str, object]) -> str:
        """Return the field of a value, which is added to the profile's values once."""
        for known, given in self.values.items():
            if given == spec:
                return f"{{{known}}}"
        free, number = name, 2
        while free in self.values:
            free, number = f"{name}_{number}", number + 1
        self.values[free] = spec
        return f"{{{free}}}"


def _numbers(rest: bytes, block: Block) -> Iterator[tuple[int, str]]:
    end = block.address + block.length_in_memory - 1
    known = (
        ("address", block.address),
        ("memory_length", block.length_in_memory),
        ("length", len(block.data)),
        ("end_address", end),
    )
    for width in (4, 3):
        for name, value in known:
            # the end address of an empty block is negative
            if 0xFF < value < 1 << 8 * width and rest[:width] == value.to_bytes(width, "big"):
                yield width, f"{{{name}:{width}}}"


def _crc_of(wanted: bytes, parts: list[bytes]) -> str | dict[str, object] | None:
    """Return the CRC that the bytes are, as a profile names it; None if they are none."""
    number = int.from_bytes(wanted, "big")
    for name in _names_of_width(8 * len(wanted)):
        if crc_over(name, parts) == number:
            return name
    for unnamed in _UNNAMED:
        if unnamed.width == 8 * len(wanted) and crc_over(unnamed, parts) == number:
            return unnamed.model_dump(exclude_defaults=True)
    return None


@cache
def _names_of_width(width: int) -> tuple[str, ...]:
    names: Iterable[str] = (name for name, model in anycrc.models.items() if model.width == width)
    usable = [name for name in names if anycrc.models[name].refin == anycrc.models[name].refout]
    return tuple(sorted(usable, key=lambda name: name not in _FIRST_CHOICE))
