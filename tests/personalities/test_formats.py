"""One program in every format gives the same memory in an ECU, and a malformed file changes none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabench.bench.errors import FirmwareError
from otabench.bench.firmware import program_files
from otabench.bench.firmware.program_files import ProgramDetails
from otabench.bench.gateway.flashing.payloads import make_material
from otabench.bench.gateway.vehicle import EcuImage, Payload
from otabench.bench.uds.errors import EcuRefused
from otabench.ecu_firmware_sim.personalities.memory import APPLICATION_BYTES, new_flash
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.bench.firmware.programs import writers
from tests.personalities.direct import DirectTester
from tests.personalities.updates import profile_of, program, update

ECU = "single-bank"
NEW = program("2.0.0", size=0x2800)
PARTS = ((FLASH_BASE, NEW[:0x1000]), (FLASH_BASE + 0x1000, NEW[0x1000:]))
FILES = {
    "raw binary": NEW,
    "Intel HEX": writers.intel_hex(PARTS),
    "S-record": writers.s_record(PARTS),
    "ELF": writers.elf(PARTS),
    "VBF": writers.vbf(PARTS),
    "ODX-F": writers.odx_f(PARTS),
    "PDX": writers.pdx(PARTS),
}


def flash(tester: DirectTester, data: bytes, folder: Path, *, memory: tuple[tuple[int, int], ...] = ()) -> str:
    """Flash a file as operator and gateway do, and return its format."""
    given = folder / "given"
    given.write_bytes(data)
    details = ProgramDetails("gate", "gate-mcu", "2.0.0", address=FLASH_BASE, memory=memory)
    packed = program_files.pack(given, details, out=folder / "out")
    stated = packed.statement.payload
    image = EcuImage(
        ecu="gate",
        version="2.0.0",
        image=packed.path,
        image_length=packed.length_bytes,
        metadata=b"",
        payload=Payload(
            stated.format, stated.start_address, tuple((each.address, each.length) for each in stated.segments)
        ),
    )
    profile = profile_of(ECU)
    update(tester, profile, make_material(image, profile, settings={"tester_serial": "OTA"}))
    return stated.format


def test_every_format_gives_the_same_memory(tmp_path: Path) -> None:
    memories = {}
    for form, data in FILES.items():
        tester = DirectTester(PERSONALITIES[ECU], new_flash(program("1.0.0")))
        assert flash(tester, data, tmp_path) == form
        assert tester.ecu.version == "2.0.0"
        memories[form] = bytes(tester.flash.memory)
    assert memories["raw binary"][: len(NEW)] == NEW
    assert len(set(memories.values())) == 1


def broken_line(data: bytes) -> bytes:
    """Return a file of records with another digit in the data of its third line."""
    lines = data.splitlines(keepends=True)
    lines[2] = lines[2][:20] + (b"1" if lines[2][20:21] != b"1" else b"2") + lines[2][21:]
    return b"".join(lines)


OVERLAP = ((FLASH_BASE, NEW[:0x100]), (FLASH_BASE + 0x80, NEW[:0x100]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (broken_line(FILES["Intel HEX"]), "Intel HEX, line 3: "),
        (broken_line(FILES["S-record"]), "S-record, line 3: "),
        (FILES["VBF"][:-40] + bytes([FILES["VBF"][-40] ^ 1]) + FILES["VBF"][-39:], "VBF.*checksum"),
        (writers.intel_hex(OVERLAP), "Intel HEX.*overlap"),
        (writers.s_record(OVERLAP), "S-record.*overlap"),
        (writers.elf(OVERLAP), "ELF.*overlap"),
        (writers.vbf(OVERLAP), "VBF.*overlap"),
        (writers.odx_f(OVERLAP), "ODX-F.*overlap"),
        (writers.pdx(OVERLAP), "PDX.*overlap"),
        (FILES["Intel HEX"][:-12], "Intel HEX.*is the file complete"),
        (FILES["S-record"][:-18], "S-record.*is the file complete"),
        (FILES["ELF"][:0x800], "ELF"),
        (FILES["VBF"][:-100], "VBF"),
        (FILES["ODX-F"][:-100], "ODX-F"),
        (FILES["PDX"][:-100], "PDX"),
    ],
)
def test_a_malformed_file_is_refused_by_name_before_anything_is_sent(data: bytes, words: str, tmp_path: Path) -> None:
    tester = DirectTester(PERSONALITIES[ECU], new_flash(program("1.0.0")))
    with pytest.raises(FirmwareError, match=words):
        flash(tester, data, tmp_path)
    assert (tester.requests, tester.ecu.version) == (0, "1.0.0")


OUTSIDE = ((FLASH_BASE, NEW), (FLASH_BASE + APPLICATION_BYTES, bytes(16)))


@pytest.mark.parametrize(
    "write", [writers.intel_hex, writers.s_record, writers.elf, writers.vbf, writers.odx_f, writers.pdx]
)
def test_data_outside_the_memory_of_the_profile_are_refused_before_anything_is_sent(
    write: Callable[[writers.Parts], bytes], tmp_path: Path
) -> None:
    tester = DirectTester(PERSONALITIES[ECU], new_flash(program("1.0.0")))
    memory = ((FLASH_BASE, FLASH_BASE + APPLICATION_BYTES),)
    with pytest.raises(FirmwareError, match=r"data at 0x0800F000 \(16 bytes\) are outside the memory of gate"):
        flash(tester, write(OUTSIDE), tmp_path, memory=memory)
    assert tester.requests == 0


def test_data_outside_a_memory_that_no_profile_names_are_refused_by_the_bootloader(tmp_path: Path) -> None:
    tester = DirectTester(PERSONALITIES[ECU], new_flash(program("1.0.0")))
    with pytest.raises(EcuRefused, match=r"31 01 FF00.*NRC 31 requestOutOfRange"):
        flash(tester, writers.intel_hex(OUTSIDE), tmp_path)


def test_a_gap_is_left_as_erased_flash_reads(tmp_path: Path) -> None:
    tester = DirectTester(PERSONALITIES[ECU], new_flash(program("1.0.0")))
    flash(tester, writers.s_record(((FLASH_BASE, NEW[:0x100]), (FLASH_BASE + 0x1100, NEW[0x100:0x200]))), tmp_path)
    memory = bytes(tester.flash.memory)
    assert memory[:0x100] + memory[0x1100:0x1200] == NEW[:0x200]
    assert set(memory[0x100:0x1100]) == {0xFF}
