"""Checksums inside a program: filled in, or required, before anything is sent."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from otabench.bench.uds.sequence.image_checksums import ImageChecksum, ImageChecksumError
from otabench.bench.uds.sequence.material import Block, BlockKind, Layout, Material, lay_out

BODY = bytes(range(200))
RULE: dict[str, Any] = {"at": 0x10FC, "checksum": "CRC-32", "start": 0x1000, "end": 0x10FC}


def laid(*blocks: Block, **rule: Any) -> tuple[Block, ...]:
    layout = Layout(align_bytes=0x100, image_checksums=(ImageChecksum.model_validate({**RULE, **rule}),))
    return lay_out(Material(blocks), layout).blocks


def expected(order: str = "big") -> bytes:
    return zlib.crc32(BODY + b"\xff" * (0xFC - len(BODY))).to_bytes(4, order)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["big", "little"])
def test_a_checksum_is_written_over_what_the_layout_filled(order: str) -> None:
    (block,) = laid(Block(0x1000, BODY), order=order)
    assert block.data == BODY + b"\xff" * (0xFC - len(BODY)) + expected(order)


def test_later_rules_cover_what_earlier_ones_wrote() -> None:
    outer = ImageChecksum(at=0x1100, checksum="CRC-16/X-25", start=0x1000, end=0x1100)
    layout = Layout(align_bytes=0x200, image_checksums=(ImageChecksum.model_validate(RULE), outer))
    (block,) = lay_out(Material((Block(0x1000, BODY),)), layout).blocks
    assert block.data[0xFC:0x100] == expected()
    reversed_order = Layout(align_bytes=0x200, image_checksums=layout.image_checksums[::-1])
    (other,) = lay_out(Material((Block(0x1000, BODY),)), reversed_order).blocks
    assert other.data[0x100:0x102] != block.data[0x100:0x102]


def test_a_program_that_must_carry_its_checksum_is_refused_without_it() -> None:
    right = BODY + b"\xff" * (0xFC - len(BODY)) + expected()
    assert laid(Block(0x1000, right), missing="refuse")[0].data == right
    with pytest.raises(
        ImageChecksumError, match=r"checksum at 0x10FC: the program carries FF FF FF FF, and .* is right"
    ):
        laid(Block(0x1000, BODY), missing="refuse")


@pytest.mark.parametrize("rule", [{"end": 0x10FC, "start": 0xF00}, {"at": 0x2000}])
def test_what_is_not_in_one_block_is_named(rule: dict[str, int]) -> None:
    with pytest.raises(ImageChecksumError, match=r"is not in one block of the program"):
        laid(Block(0x1000, BODY), **rule)


def test_drivers_and_compressed_blocks_stay_as_they_are() -> None:
    driver, packed = Block(0x10, b"d" * 8, BlockKind.DRIVER), Block(0x1200, b"z" * 8, data_format=0xAA)
    blocks = laid(driver, Block(0x1000, BODY), packed)
    assert {driver, packed} <= set(blocks)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"end": 0x1000}, "end must be behind start"),
        ({"at": 0x10F0}, "the checksum lies in what it covers"),
        ({"checksum": "CRC-33"}, "there is no checksum"),
        ({"missing": "ignore"}, "'fill' or 'refuse'"),
    ],
)
def test_a_rule_that_cannot_be_right_is_refused(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ImageChecksum.model_validate({**RULE, **rule})
