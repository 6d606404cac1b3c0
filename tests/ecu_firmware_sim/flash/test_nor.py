"""NOR semantics, redundant records, and the state file."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.ecu_firmware_sim.errors import ConfigError, FlashError, PowerLost
from otabench.ecu_firmware_sim.flash.layout import PAGE_BYTES, SECTOR_BYTES
from otabench.ecu_firmware_sim.flash.nor import Cut, FileBacking, NorFlash
from otabench.ecu_firmware_sim.flash.records import RedundantRecord


@pytest.fixture
def flash() -> NorFlash:
    return NorFlash(bytearray(4 * SECTOR_BYTES))


def test_erase_sets_every_bit_of_whole_sectors(flash: NorFlash) -> None:
    flash.erase(SECTOR_BYTES, SECTOR_BYTES)
    assert flash.read(SECTOR_BYTES, SECTOR_BYTES) == b"\xff" * SECTOR_BYTES
    assert flash.read(0, SECTOR_BYTES) == bytes(SECTOR_BYTES)
    with pytest.raises(FlashError):
        flash.erase(100, SECTOR_BYTES)


def test_program_only_clears_bits_and_reports_what_was_not_erased(flash: NorFlash) -> None:
    flash.erase(0, SECTOR_BYTES)
    flash.program(0, b"\xf0")
    with pytest.raises(FlashError):
        flash.program(0, b"\x3c")
    assert flash.read(0, 1) == b"\x30"


def test_an_operation_is_one_sector_or_one_page(flash: NorFlash) -> None:
    flash.erase(0, 2 * SECTOR_BYTES)
    assert flash.operations == 2
    flash.program(PAGE_BYTES - 1, bytes(PAGE_BYTES + 2))
    assert [(step.offset, step.length) for step in flash.log][2:] == [(255, 1), (256, 256), (512, 1)]


@pytest.mark.parametrize(
    ("cut", "expected"), [(Cut.BEFORE, b"\xff" * 4), (Cut.TORN, b"AB\xff\xff"), (Cut.AFTER, b"ABCD")]
)
def test_a_cut_leaves_what_it_leaves_and_then_there_is_no_power(flash: NorFlash, cut: Cut, expected: bytes) -> None:
    flash.erase(0, SECTOR_BYTES)
    flash.on_operation = lambda _step: cut
    with pytest.raises(PowerLost):
        flash.program(0, b"ABCD")
    with pytest.raises(PowerLost):
        flash.read(0, 1)
    assert bytes(flash.memory[:4]) == expected


def test_a_garbage_cut_leaves_each_bit_old_or_new(flash: NorFlash) -> None:
    flash.erase(0, SECTOR_BYTES)
    flash.on_operation = lambda _step: Cut.GARBAGE
    with pytest.raises(PowerLost):
        flash.program(0, b"\x0f" * 200)
    assert all(byte & 0x0F == 0x0F for byte in flash.memory[:200])
    assert len(set(flash.memory[:200])) > 2


def test_time_is_taken_for_code_flash_only() -> None:
    waited: list[float] = []
    flash = NorFlash(bytearray(2 * SECTOR_BYTES), timed_from=SECTOR_BYTES, wait=waited.append)
    flash.erase_sector_s = 0.5
    flash.erase(0, SECTOR_BYTES)
    assert waited == []
    flash.erase(SECTOR_BYTES, SECTOR_BYTES)
    assert waited == [0.5]


def record(flash: NorFlash) -> RedundantRecord:
    return RedundantRecord(flash, offsets=(0, SECTOR_BYTES), size_bytes=SECTOR_BYTES)


def test_a_record_survives_the_loss_of_either_copy(flash: NorFlash) -> None:
    record(flash).store(b"one")
    for offset in (0, SECTOR_BYTES):
        flash.flip_bit(offset + 17)
        assert record(flash).load() == b"one"
        assert flash.read(0, 64) == flash.read(SECTOR_BYTES, 64)  # repaired


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("operation", range(1, 5))
def test_a_record_is_old_or_new_after_a_cut_at_any_operation(flash: NorFlash, operation: int, cut: Cut) -> None:
    record(flash).store(b"one")
    first = flash.operations
    flash.on_operation = lambda step: cut if step.number == first + operation else None
    with pytest.raises(PowerLost):
        record(flash).store(b"two")
    flash.on_operation, flash.powered = None, True
    assert record(flash).load() in (b"one", b"two")
    record(flash).store(b"three")
    assert record(flash).load() == b"three"


def test_an_empty_place_holds_no_record(flash: NorFlash) -> None:
    assert record(flash).load() is None


def test_the_state_file_is_written_through_and_locked(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(SECTOR_BYTES))
    backing = FileBacking(path, size_bytes=SECTOR_BYTES)
    flash = NorFlash(backing.load(), backing=backing)
    flash.erase(0, SECTOR_BYTES)
    flash.program(10, b"A")
    assert path.read_bytes() == bytes(flash.memory)
    with pytest.raises(ConfigError, match="in use by another"):
        FileBacking(path, size_bytes=SECTOR_BYTES)
    backing.close()
    with pytest.raises(ConfigError, match="delete the file"):
        FileBacking(path, size_bytes=2 * SECTOR_BYTES)
