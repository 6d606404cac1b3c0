"""Program files for ECUs that are no MCUboot targets: what is stated about them, and what is refused before the cloud refuses it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.clients import campaign_images
from otabench.bench.errors import FirmwareError, WrongUsage
from otabench.bench.firmware import images, program_files
from otabench.bench.firmware.program_files import ProgramDetails
from otabench.bench.firmware.programs import reading
from otabench.bench.topology import bench_file
from otabench.bench.uds.sequence import profile as sequence_profiles
from otabench.cloud.trust.firmware import verify_program
from otabench.proto.version_order import VersionOrder, VersionRule
from tests.bench.firmware.programs import writers

PARTS = ((0x0800_0000, bytes(range(200))), (0x0800_0400, bytes(range(100, 200))))
DETAILS = ProgramDetails("gate", "gate-mcu", "1.10", VersionRule(VersionOrder.NUMERIC))


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a.hex", writers.intel_hex(PARTS), "Intel HEX"),
        ("a.hex", writers.s_record(PARTS), "S-record"),  # the name is not looked at
        ("a.elf", writers.elf(PARTS), "ELF"),
        ("a.vbf", writers.vbf(PARTS), "VBF"),
    ],
)
def test_a_file_stays_as_it_is_and_the_cloud_agrees_with_its_statement(
    tmp_path: Path, name: str, data: bytes, form: str
) -> None:
    (tmp_path / name).write_bytes(data)
    packed = program_files.pack(tmp_path / name, DETAILS, out=tmp_path / "out" / name)
    assert packed.path.read_bytes() == data
    image = campaign_images.load(packed.path, hardware_id="gate-mcu")
    assert image.program is not None
    payload = image.program.payload
    assert (payload.format, payload.start_address) == (form, None)
    assert [(each.address, each.length) for each in payload.segments] == [(a, len(d)) for a, d in PARTS]
    assert verify_program(image.image, hardware_id="gate-mcu", version="1.10", payload=payload).length == len(data)


def test_a_binary_gets_the_address_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(64))
    with pytest.raises(WrongUsage, match="give --address, or payload in the flash"):
        program_files.pack(tmp_path / "a.bin", DETAILS, out=tmp_path / "b.bin")
    packed = program_files.pack(tmp_path / "a.bin", replace(DETAILS, address=0x1000), out=tmp_path / "b.bin")
    assert packed.statement.payload.start_address == 0x1000
    assert program_files.describe(packed.path)["segments"] == "0x00001000 to 0x0000103F (64 bytes)"


@pytest.mark.parametrize("version", ["V2", "", "0.0.0", "1 "])
def test_a_version_that_the_cloud_never_takes_is_refused_first(tmp_path: Path, version: str) -> None:
    (tmp_path / "a.hex").write_bytes(writers.intel_hex(PARTS))
    with pytest.raises(WrongUsage, match="order numeric"):
        program_files.pack(tmp_path / "a.hex", replace(DETAILS, version=version), out=tmp_path / "b.hex")
    assert not (tmp_path / "b.hex").exists()


def test_a_statement_of_other_contents_or_hardware_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.hex").write_bytes(writers.intel_hex(PARTS))
    packed = program_files.pack(tmp_path / "a.hex", DETAILS, out=tmp_path / "b.hex")
    with pytest.raises(WrongUsage, match="packed for hardware gate-mcu, but the ECU has door-mcu"):
        campaign_images.load(packed.path, hardware_id="door-mcu")
    packed.path.write_bytes(writers.intel_hex(PARTS[:1]))
    with pytest.raises(FirmwareError, match="belongs to other contents"):
        campaign_images.load(packed.path, hardware_id="gate-mcu")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (writers.intel_hex(PARTS), "it is a program file .Intel HEX., not an image"),
        (writers.s_record(PARTS), "it is a program file .S-record., not an image"),
        (writers.elf(PARTS), "it is a program file .ELF., not an image"),
        (b"%PDF-1.7", "it is a PDF document"),
        (bytes(100), "header magic"),
    ],
)
def test_what_is_neither_an_image_nor_packed_is_refused_with_what_it_is(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "engine.bin").write_bytes(data)
    with pytest.raises(FirmwareError, match=words):
        campaign_images.load(tmp_path / "engine.bin", hardware_id="engine-mcu-a")


def test_too_many_segments_for_signed_metadata_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.hex").write_bytes(writers.intel_hex([(n * 64, b"x") for n in range(300)]))
    with pytest.raises(FirmwareError, match="300 segments are more than the 256"):
        program_files.pack(tmp_path / "a.hex", DETAILS, out=tmp_path / "b.hex")


def test_a_file_that_no_campaign_can_carry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_files, "MAX_SENT_BYTES", 100)
    (tmp_path / "a.hex").write_bytes(writers.intel_hex(PARTS))
    with pytest.raises(FirmwareError, match="are more than the 100 that one campaign can carry"):
        program_files.pack(tmp_path / "a.hex", DETAILS, out=tmp_path / "b.hex")


def test_the_bench_makes_program_files_for_an_ecu_that_takes_them(tmp_path: Path) -> None:
    before, adas, after = bench_file.default_text().partition("hardware_id: adas-soc-b")
    (tmp_path / "own.yaml").write_text(before + adas + after.replace("iso14229-ab", "single-bank", 1))
    topology = bench_file.load(tmp_path / "own.yaml")
    made = images.build(topology, keys_dir=tmp_path, out_dir=tmp_path, ecus=("adas",), size_bytes=4096)["adas"]
    binaries = []
    for version in images.BENCH_VERSIONS:
        assert made[version].payload is not None
        address, binary = reading.read(made[version].path).contiguous(fill=0xFF, max_bytes=4096)
        assert address == program_files.DEFAULT_ADDRESS
        assert binary[0x20:0x30].rstrip(b"\0").decode() == version
        binaries.append(binary)
    assert binaries[0] != binaries[1]
    with pytest.raises(WrongUsage, match="--requires: adas takes program files"):
        images.build(topology, keys_dir=tmp_path, out_dir=tmp_path, ecus=("adas",), requires=("engine>=1.0.0",))


def test_generated_firmware_has_the_versions_of_a_profile_s_list(tmp_path: Path) -> None:
    profile = Path(sequence_profiles.path_of("minimal")).read_text()
    (tmp_path / "mine.yaml").write_text(profile.replace("order: semver", "order: list, known: [Blue, Green, Amber]"))
    (tmp_path / "own.yaml").write_text(
        bench_file.default_text().replace("profile: iso14229-ab", "profile: ./mine.yaml")
    )
    topology = bench_file.load(tmp_path / "own.yaml")
    made = images.build(topology, keys_dir=tmp_path, out_dir=tmp_path, ecus=("adas",), size_bytes=4096)["adas"]
    assert {asked: file.version for asked, file in made.items()} == {"1.0.0": "Blue", "2.0.0": "Green"}
    with pytest.raises(WrongUsage, match="versions of adas have the order list; a minimum needs semver"):
        images.parse_requirements(("adas>=1.0.0",), ecu="engine", topology=topology)
    with pytest.raises(WrongUsage, match="lists 3 versions, too few"):
        images.build(
            topology,
            keys_dir=tmp_path,
            out_dir=tmp_path,
            ecus=("adas",),
            versions=("1", "2", "3", "4"),
            size_bytes=4096,
        )
