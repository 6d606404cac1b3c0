"""One program for every personality, and its update by the profile of the same name."""

from __future__ import annotations

import functools
import random
import zlib
from datetime import UTC, datetime
from pathlib import Path

from otabench.bench.uds.sequence import profile as profiles
from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material, lay_out
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.runner import Runner
from otabench.bench.uds.sequence.scope import RunScope
from otabench.bench.uds.sequence.steps import Sequence
from otabench.ecu_firmware_sim.personalities.memory import VERSION_BYTES, VERSION_OFFSET
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE, RAM_BASE
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.personalities.direct import DirectTester

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DRIVER_SIZE = 600
SECOND_BLOCK = 0x4000


@functools.cache
def program(version: str, *, size: int = 0x4600) -> bytes:
    """Return an application with its version in its header."""
    body = bytearray(random.Random(version).randbytes(size))
    body[VERSION_OFFSET : VERSION_OFFSET + VERSION_BYTES] = version.encode().ljust(VERSION_BYTES, b"\0")
    return bytes(body)


@functools.cache
def material(name: str, version: str) -> Material:
    """Return the update of one personality: a driver where it needs one, and the application in two blocks."""
    personality, binary = PERSONALITIES[name], program(version)
    blocks: list[Block] = []
    if personality.needs_driver:
        blocks.append(Block(RAM_BASE, random.Random(0).randbytes(DRIVER_SIZE), BlockKind.DRIVER, block_id=0x30))
    for number, offset in enumerate((0, SECOND_BLOCK), start=1):
        data = binary[offset : offset + SECOND_BLOCK]
        if name == "block-ids":
            packed = zlib.compress(data)
            block = Block(
                FLASH_BASE + offset,
                packed,
                data_format=0xAA,
                memory_length=len(data),
                block_id=number,
                checksum_data=data,
            )
        else:
            block = Block(FLASH_BASE + offset, data, block_id=number)
        blocks.append(block)
    if name == "records":
        records = tuple((FLASH_BASE + at, binary[at : at + 240]) for at in range(0, len(binary), 240))
        blocks = [Block(FLASH_BASE, binary, records=records)]
    return Material(
        tuple(blocks),
        erase=(EraseArea(FLASH_BASE, 0x5000),),
        start_address=RAM_BASE,
        settings={"tester_serial": "OTA", "workshop_code": "WS"},
    )


@functools.cache
def profile_of(name: str) -> SequenceProfile:
    return profiles.load(Path(profiles.path_of(name)))


def update(tester: DirectTester, profile: SequenceProfile, what: Material, *, is_in_bootloader: bool = False) -> None:
    """Carry out the acts of an update in order.

    Raises:
        FlashError: a step failed.
    """
    scope = RunScope(lay_out(what, profile.layout), profile.values, NOW)
    acts = profile.sequences
    before = acts.in_bootloader if is_in_bootloader else acts.pre_programming
    for sequence in (before, acts.programming, acts.activate, acts.verify, acts.confirm, acts.post_programming):
        assert isinstance(sequence, Sequence)
        Runner(tester, scope, times=profile.times).run(sequence)
