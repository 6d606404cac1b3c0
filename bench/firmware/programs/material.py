"""Make of program files what a flash sequence sends: blocks with their numbers, areas to erase, settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from otabench.bench.firmware.programs.program import Program
from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material


def material(
    program: Program,
    *,
    driver: Program | None = None,
    settings: Mapping[str, str] | None = None,
    first_block_id: int = 1,
) -> Material:
    """Return the blocks of an application and, before them, those of its flash driver or secondary bootloader.

    Args:
        program: the application. Its blocks are numbered from ``first_block_id`` on, by address.
        driver: loaded into RAM first; it is started at its entry point.
        settings: texts that the profile may name; the fields of the program file are added.
    """
    driver_blocks = _blocks(driver, BlockKind.DRIVER, first_block_id=0) if driver else []
    return Material(
        blocks=(*driver_blocks, *_blocks(program, BlockKind.APPLICATION, first_block_id=first_block_id)),
        erase=tuple(EraseArea(each.address, each.length) for each in program.erase),
        start_address=(driver.start if driver else None) or program.start or 0,
        settings={**program.fields, **(settings or {})},
    )


def _blocks(program: Program, kind: BlockKind, *, first_block_id: int) -> Iterable[Block]:
    return [
        Block(
            each.address,
            each.data,
            kind,
            data_format=each.data_format,
            block_id=first_block_id + number,
            records=tuple(record for record in program.records if each.address <= record[0] < each.end),
        )
        for number, each in enumerate(program.segments)
    ]
