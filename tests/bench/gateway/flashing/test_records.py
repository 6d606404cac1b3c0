"""What the gateway keeps about ECUs that report little: how far a job got, and the images that they ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.gateway.flashing.consequences import foresee
from otabench.bench.gateway.flashing.payloads import make_material
from otabench.bench.gateway.flashing.records import Act, EcuRecord, EcuRecords, FormerImages
from otabench.bench.gateway.vehicle import EcuImage, Payload
from otabench.bench.uds.endpoint import EcuEndpoint, FormerImage
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.sequence.profile import load, path_of
from tests.bench.firmware.programs import writers

RECORD = EcuRecord(job_id="job-1", version="2.0.0", from_version="1.0.0")
PROFILE = load(path_of("single-bank"))


def endpoint(former: FormerImage | None = None, *, profile: str = "single-bank") -> EcuEndpoint:
    return EcuEndpoint(
        name="pump",
        bus={},
        request_id=1,
        response_id=2,
        serial="1",
        hardware_id="h",
        profile=profile,
        former_image=former,
    )


def image(folder: Path, version: str, content: bytes | None = None) -> EcuImage:
    path = folder / f"{version}.hex"
    path.write_bytes(content or writers.intel_hex([(0x0800_0000, version.encode() * 9)]))
    return EcuImage("pump", version, path, path.stat().st_size, b"{}", payload=Payload("Intel HEX"))


def test_a_record_is_read_back_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    records = EcuRecords(tmp_path / "ecus")
    assert records.read("pump") is None
    records.write("pump", RECORD)
    records.write("pump", RECORD.model_copy(update={"act": Act.PROGRAMMING}))
    assert records.read("pump") == RECORD.model_copy(update={"act": Act.PROGRAMMING})
    (tmp_path / "ecus" / "pump.json").write_text("{")
    assert records.read("pump") is None
    assert [path.name for path in (tmp_path / "ecus").iterdir()] == ["pump.json"], "no temporary file is left"


def test_the_last_two_images_are_kept(tmp_path: Path) -> None:
    former = FormerImages(tmp_path / "former")
    for version in ("1.0.0", "2.0.0", "3.0.0", "2.0.0"):
        former.keep(image(tmp_path, version))
    new = image(tmp_path, "4.0.0")
    assert former.find(endpoint(), "1.0.0", like=new) is None
    found = former.find(endpoint(), "3.0.0", like=new)
    assert found is not None
    assert found.image.read_bytes() == (tmp_path / "3.0.0.hex").read_bytes()
    assert (found.version, found.payload, found.metadata) == ("3.0.0", Payload("Intel HEX"), new.metadata)
    assert former.has(endpoint(), "2.0.0")


def test_the_image_that_a_workshop_flashed_is_the_configuration_s(tmp_path: Path) -> None:
    given = FormerImage(version="1.0.0", file=image(tmp_path, "1.0.0").image, file_format="Intel HEX")
    former, new = FormerImages(tmp_path / "former"), image(tmp_path, "2.0.0")
    found = former.find(endpoint(given), "1.0.0", like=new)
    assert found is not None
    assert found.image == given.file
    assert former.find(endpoint(given), "0.9.0", like=new) is None
    gone = given.model_copy(update={"file": tmp_path / "gone"})
    assert former.find(endpoint(gone), "1.0.0", like=new) is None


@pytest.mark.parametrize(
    ("profile", "knows", "stops", "no_way_back"),
    [
        ("iso14229-ab", False, (), ()),
        ("single-bank", True, ("pump",), ()),
        ("single-bank", False, ("pump",), ("pump",)),
        ("missing", False, (), ()),
    ],
)
def test_the_driver_learns_beforehand_what_an_update_means(
    profile: str, knows: bool, stops: tuple[str, ...], no_way_back: tuple[str, ...], tmp_path: Path
) -> None:
    given = FormerImage(version="1.0.0", file=image(tmp_path, "1.0.0").image) if knows else None
    found = foresee([endpoint(given, profile=profile)], {"pump": "1.0.0"}, state_dir=tmp_path)
    assert (found.stop_working, found.without_way_back) == (stops, no_way_back)


def test_a_program_file_becomes_the_blocks_of_its_profile(tmp_path: Path) -> None:
    made = make_material(image(tmp_path, "2.0.0"), PROFILE, settings={"workshop_code": "0815"})
    assert [(block.address, len(block.data)) for block in made.blocks] == [(0x0800_0000, 48)], "whole words of 8 bytes"
    assert [(area.address, area.length) for area in made.areas()] == [(0x0800_0000, 0x1000)], "whole sectors"
    assert made.settings["version"] == "2.0.0"
    assert made.settings["workshop_code"] == "0815"


def test_a_raw_binary_belongs_to_its_signed_address_else_to_that_of_the_profile(tmp_path: Path) -> None:
    raw = replace(image(tmp_path, "2.0.0", b"\x01" * 8), payload=Payload("raw binary", 0x0800_4000))
    assert make_material(raw, PROFILE, settings={}).blocks[0].address == 0x0800_4000
    own = PROFILE.model_copy(update={"payload": PROFILE.payload.model_copy(update={"address": 0x0801_0000})})
    assert make_material(replace(raw, payload=Payload("raw binary")), own, settings={}).blocks[0].address == 0x0801_0000


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b":00000001FE\n", "Intel HEX"), (b"S9030000FC\n", "S-record")]
)
def test_a_file_that_is_not_what_was_signed_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    wrong = image(tmp_path, "2.0.0")
    wrong.image.write_bytes(content)
    with pytest.raises(FlashError, match=problem):
        make_material(wrong, PROFILE, settings={})
