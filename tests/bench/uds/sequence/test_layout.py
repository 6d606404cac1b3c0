"""Layout: whatever is filled, aligned and joined, the memory holds the program, and every byte of it was erased."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.uds.sequence.material import Area, Block, BlockKind, EraseArea, Layout, Material, lay_out

DRIVER = Block(0x2000_0001, b"driver", BlockKind.DRIVER)


def programs() -> st.SearchStrategy[tuple[Block, ...]]:
    parts = st.lists(st.tuples(st.integers(1, 40), st.binary(min_size=1, max_size=30)), min_size=1, max_size=6)

    def place(given: list[tuple[int, bytes]]) -> tuple[Block, ...]:
        blocks, at = [], 100
        for gap, data in given:
            at += gap
            blocks.append(Block(at, data))
            at += len(data)
        return tuple(blocks)

    return parts.map(place)


layouts = st.builds(
    Layout,
    fill=st.sampled_from([0x00, 0xFF]),
    max_gap_bytes=st.integers(0, 20),
    align_bytes=st.sampled_from([1, 2, 8, 16]),
    erase_sector_bytes=st.sampled_from([1, 16, 64]),
)


@given(programs(), layouts)
def test_the_memory_is_that_of_the_program_and_fill(blocks: tuple[Block, ...], layout: Layout) -> None:
    laid = lay_out(Material((DRIVER, *blocks)), layout)
    memory: dict[int, int] = {}
    for block in laid.of_kind(BlockKind.APPLICATION):
        for offset, value in enumerate(block.data):
            if block.address + offset in memory and value == layout.fill:
                continue  # two blocks that share a unit, and were not joined
            memory[block.address + offset] = value
    wanted = {block.address + offset: value for block in blocks for offset, value in enumerate(block.data)}
    assert {address: memory[address] for address in wanted} == wanted
    assert all(memory[address] == layout.fill for address in memory.keys() - wanted.keys())
    assert all(block.address % layout.align_bytes == 0 for block in laid.of_kind(BlockKind.APPLICATION))
    assert all(len(block.data) % layout.align_bytes == 0 for block in laid.of_kind(BlockKind.APPLICATION))
    assert laid.of_kind(BlockKind.DRIVER) == (DRIVER,)


@given(programs(), layouts)
def test_every_byte_that_is_written_was_erased_and_no_sector_twice(blocks: tuple[Block, ...], layout: Layout) -> None:
    laid = lay_out(Material(blocks), layout)
    erased: list[int] = []
    for area in laid.areas():
        assert area.address % layout.erase_sector_bytes == 0
        assert area.length % layout.erase_sector_bytes == 0
        erased += range(area.address, area.address + area.length)
    written = {block.address + offset for block in laid.blocks for offset in range(len(block.data))}
    assert written <= set(erased)
    if layout.erase_sector_bytes > 1:
        assert len(erased) == len(set(erased))


def test_blocks_that_share_no_unit_are_never_overlapped() -> None:
    layout = Layout(align_bytes=16, max_gap_bytes=0)
    blocks = (Block(0x100, b"a"), Block(0x108, b"b"))
    laid = lay_out(Material(blocks), layout)
    assert len(laid.blocks) == 1, "they share a unit, so that they are one block"
    assert laid.blocks[0].data == b"a" + b"\xff" * 7 + b"b" + b"\xff" * 7


def test_compressed_blocks_stay_as_they_are() -> None:
    blocks = (Block(0x101, b"abc", data_format=0xAA, block_id=7),)
    assert lay_out(Material(blocks), Layout(align_bytes=16, max_gap_bytes=1000)).blocks == blocks


def test_a_program_of_lines_is_laid_out_as_any_other_and_its_lines_stay() -> None:
    lines = ((0x203, b"de"), (0x209, b"f"))
    blocks = (Block(0x203, b"de", records=lines[:1]), Block(0x209, b"f", records=lines[1:]))
    (block,) = lay_out(Material(blocks), Layout(align_bytes=8, max_gap_bytes=8)).blocks
    assert (block.address, block.data) == (0x200, b"\xff\xff\xffde\xff\xff\xff\xfff" + b"\xff" * 6)
    assert block.records == lines


def test_a_program_is_cut_at_the_borders_of_areas() -> None:
    areas = (Area(address=0x100, length=0x10, id=7), Area(address=0x2000, length=0x100, kind=BlockKind.DRIVER, id=0x30))
    given = Material((Block(0x108, bytes(range(16)), records=((0x108, b"a"), (0x114, b"b"))), Block(0x2010, b"driver")))
    laid = lay_out(given, Layout(areas=areas, max_gap_bytes=0x1000))
    assert [(each.kind, each.address, len(each.data), each.block_id) for each in laid.blocks] == [
        (BlockKind.DRIVER, 0x2010, 6, 0x30),
        (BlockKind.APPLICATION, 0x108, 8, 7),
        (BlockKind.APPLICATION, 0x110, 8, 0),
    ]
    assert [each.records for each in laid.blocks[1:]] == [((0x108, b"a"),), ((0x114, b"b"),)]
    assert laid.areas() == (EraseArea(0x108, 8), EraseArea(0x110, 8)), "RAM is not erased"


def test_areas_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="those at 0x100 and 0x108 overlap"):
        Layout(areas=(Area(address=0x100, length=16), Area(address=0x108, length=1)))


def test_the_erase_list_of_the_file_wins_over_its_blocks() -> None:
    laid = lay_out(Material((Block(0x1000, b"x"),), erase=(EraseArea(0x800, 0x10),)), Layout(erase_sector_bytes=0x100))
    assert laid.areas() == (EraseArea(0x800, 0x100),)
