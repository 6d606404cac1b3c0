"""The Wireshark profile: tshark with it shows an update's services, names and whole blocks; the files say what the bench file says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from otabench.bench.captures import wireshark as wireshark_profile
from otabench.bench.captures.convert import convert
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.finding import Severity
from otabench.bench.topology import bench_file
from tests.bench.report import small_run

_29_BIT = """
vehicle: {vin: W0TABENCH00000001}
buses: {b: {channel: vcan0}}
ecus:
  door: {bus: b, request_id: 0x18DA10F1, response_id: 0x18DAF110, hardware_id: door-mcu}
"""


_BOTH = """
vehicle: {vin: W0TABENCH00000001}
buses: {b: {channel: vcan0}}
ecus:
  engine: {bus: b, request_id: 0x7E0, response_id: 0x7E8, hardware_id: engine-mcu}
  door: {bus: b, request_id: 0x6F1, response_id: 0x610, functional_id: 0x6FF, hardware_id: door-mcu,
         isotp: {addressing: extended, target_address: 0x10, source_address: 0xF1}}
"""
_BOTH_TALK = """
(1795440035.000001) vcan0 7E0#0322F190CCCCCCCC
(1795440035.000201) vcan0 7E8#101462F190573054
(1795440035.000301) vcan0 7E0#30000ACCCCCCCCCC
(1795440035.000401) vcan0 7E8#21544142454E4348
(1795440035.000501) vcan0 7E8#2230303030303030
(1795440035.000601) vcan0 7E8#2331CCCCCCCCCCCC
(1795440035.001001) vcan0 6F1#100322F190CCCCCC
(1795440035.001201) vcan0 610#F1101462F1905730
(1795440035.001301) vcan0 6F1#1030000ACCCCCCCC
(1795440035.001401) vcan0 610#F121544142454E43
(1795440035.001501) vcan0 610#F122483030303030
(1795440035.001601) vcan0 610#F123303031CCCCCC
(1795440035.001701) vcan0 6FF#33021003CCCCCCCC
""".lstrip()


def tshark(profiles: Path, capture: Path, *arguments: str, profile: str = "otabench") -> list[str]:
    home = profiles.parent
    done = subprocess.run(
        ["tshark", "-C", profile, "-r", str(capture), *arguments],
        capture_output=True, text=True, check=True, env={**os.environ, "XDG_CONFIG_HOME": str(home), "HOME": str(home)},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "root" not in line]
    assert complaints == []
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.unpack(tmp_path_factory.mktemp("captured") / "run")


@pytest.fixture(scope="module")
def wireshark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config") / "wireshark"
    wireshark_profile.install(bench_file.load(), folder=folder)
    return folder


@pytest.mark.tshark
def test_tshark_names_services_identifiers_routines_and_ecus(run: Path, wireshark: Path) -> None:
    text = "\n".join(tshark(wireshark, run / "can" / "powertrain.pcap", "-Y", "uds"))
    for words in (
        "Diagnostic Session Control",
        "Security Access",
        "Request Download",
        "Transfer Data",
        "Request Transfer Exit",
        "ECU Reset",
        "0xf1a1 (slotTable (OEM))",
        "0xf189 (vehicleManufacturerECUSoftwareVersionNumber)",
        "0xff00 (eraseMemory)",
        "0x0202 (checkMemory (OEM))",
        "0x0211 (confirmRunningSlot (OEM))",
        "0x07e0 engine",
        "0x07e9 adas",
        "0x07df all ECUs",
    ):
        assert words in text, words


@pytest.mark.tshark
def test_tshark_puts_the_blocks_together(run: Path, wireshark: Path) -> None:
    rows = tshark(
        wireshark, run / "can" / "powertrain.pcap", "-Y", "uds.sid == 0x36 && uds.reply == 0",
        "-T", "fields", "-e", "uds.diag_addr_name", "-e", "uds.td.block_sequence_counter", "-e", "iso15765.reassembled.length",
    )  # fmt: skip
    blocks = [(name, int(counter), int(length)) for name, counter, length in (row.split("\t") for row in rows)]
    assert {name for name, _, _ in blocks} == {"engine", "adas"}
    assert max(length for _, _, length in blocks) == 4095
    for name in ("engine", "adas"):
        counters = [counter for of, counter, _ in blocks if of == name]
        assert counters[0] == 1 and max(counters) >= 2


@pytest.mark.tshark
def test_every_frame_of_an_update_is_iso_tp(run: Path, wireshark: Path) -> None:
    assert tshark(wireshark, run / "can" / "powertrain.pcap", "-Y", "!iso15765") == []


@pytest.mark.tshark
def test_29_bit_identifiers_are_named_too(tmp_path: Path) -> None:
    found = bench_file.parse(_29_BIT, name="x.yaml")
    wireshark_profile.install(found, folder=tmp_path / "wireshark")
    (tmp_path / "x.log").write_text(
        "(1795440035.000001) vcan0 18DA10F1#0322F190CCCCCCCC\n(1795440035.000201) vcan0 18DAF110#037F2231CCCCCCCC\n"
    )
    convert(tmp_path / "x.log", tmp_path / "x.pcap")
    request, answer = tshark(tmp_path / "wireshark", tmp_path / "x.pcap", "-Y", "uds")
    assert "0x10f1 door" in request and "0xf190 (VIN)" in request
    assert "0xf110 door" in answer and "Request Out of Range" in answer


@pytest.mark.tshark
def test_an_address_in_front_of_every_frame_is_known(tmp_path: Path) -> None:
    isotp = "hardware_id: door-mcu, isotp: {addressing: extended, target_address: 0x10, source_address: 0xF1}"
    text = _29_BIT.replace("hardware_id: door-mcu", isotp)
    wireshark_profile.install(bench_file.parse(text, name="x.yaml"), folder=tmp_path / "wireshark")
    (tmp_path / "x.log").write_text("(1795440035.000001) vcan0 18DA10F1#100322F190CCCCCC\n")
    convert(tmp_path / "x.log", tmp_path / "x.pcap")
    (request,) = tshark(tmp_path / "wireshark", tmp_path / "x.pcap", "-Y", "uds")
    assert "0xf190 (VIN)" in request


@pytest.mark.tshark
def test_ecus_with_and_without_an_address_in_front_are_decoded_side_by_side(tmp_path: Path) -> None:
    # given a bus on which both kinds talk: a request, a response of several frames, a functional request
    found = bench_file.parse(_BOTH, name="x.yaml")
    made = wireshark_profile.install(found, folder=tmp_path / "wireshark")
    assert [(profile.name, profile.ecus) for profile in made.values()] == [
        ("otabench", ("engine",)),
        ("otabench-extended", ("door",)),
    ]
    (tmp_path / "x.log").write_text(_BOTH_TALK)
    convert(tmp_path / "x.log", tmp_path / "x.pcap")
    fields = (
        "-Y",
        "uds",
        "-T",
        "fields",
        "-e",
        "uds.diag_addr_name",
        "-e",
        "uds.sid",
        "-e",
        "iso15765.reassembled.length",
    )
    for profile, expected, frames in (
        ("otabench", ["engine\t0x22\t", "engine\t0x22\t20"], 6),
        ("otabench-extended", ["door\t0x22\t", "tester\t0x22\t20", "all ECUs\t0x10\t"], 7),
    ):
        # then each profile decodes its own ECUs, whole, and leaves the frames of the others alone
        assert tshark(tmp_path / "wireshark", tmp_path / "x.pcap", *fields, profile=profile) == expected
        decoded = tshark(tmp_path / "wireshark", tmp_path / "x.pcap", "-Y", "iso15765", profile=profile)
        assert len(decoded) == frames
    assert wireshark_profile.findings(found) == []


def test_an_identifier_of_both_kinds_is_warned_of() -> None:
    shared = bench_file.parse(_BOTH.replace(" functional_id: 0x6FF,", ""), name="x.yaml")
    (finding,) = wireshark_profile.findings(shared)
    assert (finding.severity, finding.where) == (Severity.WARN, "identifier 0x7DF")
    assert "all ECUs of door" in finding.problem and "all ECUs of engine" in finding.problem
    assert "functional_id" in finding.remedy


def test_ecus_of_one_kind_need_one_profile() -> None:
    for text, has_address_byte in ((_29_BIT, False), (_BOTH.replace(_BOTH.splitlines()[4] + "\n", ""), True)):
        (profile,) = wireshark_profile.profiles(bench_file.parse(text, name="x.yaml"))
        assert (profile.name, profile.has_address_byte) == ("otabench", has_address_byte)


def test_the_functional_identifier_of_normal_fixed_addressing_is_the_made_one() -> None:
    isotp = "hardware_id: door-mcu, isotp: {addressing: normal_fixed, target_address: 0x10, source_address: 0xF1}"
    found = bench_file.parse(_29_BIT.replace("hardware_id: door-mcu", isotp), name="x.yaml")
    assert wireshark_profile.identifiers(found) == {0x18DA10F1: "door", 0x18DAF110: "door", 0x18DB33F1: "all ECUs"}


def test_identifiers_shared_by_two_buses_get_both_names() -> None:
    text = bench_file.default_text().replace("ecus:", "  second: {channel: vcan1}\necus:", 1)
    text += "  door: {kind: simulated, bus: second, request_id: 0x7E0, response_id: 0x7E8, hardware_id: door-mcu}\n"
    names = wireshark_profile.identifiers(bench_file.parse(text, name="x.yaml"))
    assert names[0x7E0] == "engine / door"
    assert names[0x7E1] == "adas"
    assert names[0x7DF] == "all ECUs"


def test_installing_again_replaces_its_own_files_and_leaves_others(tmp_path: Path) -> None:
    (profile,) = wireshark_profile.install(bench_file.load(), folder=tmp_path)
    (profile / "recent").write_text("mine")
    (profile / "preferences").write_text("old")
    assert list(wireshark_profile.install(bench_file.load(), folder=tmp_path)) == [profile]
    assert (profile / "recent").read_text() == "mine"
    assert "iso15765.can.ids: 0x7df,0x7e0,0x7e1,0x7e8,0x7e9\n" in (profile / "preferences").read_text()


def test_the_user_s_folder_is_wireshark_s(tmp_path: Path) -> None:
    assert wireshark_profile.personal_folder({"HOME": str(tmp_path)}) == tmp_path / ".config" / "wireshark"
    assert wireshark_profile.personal_folder({"HOME": "/x", "XDG_CONFIG_HOME": "/y"}) == Path("/y/wireshark")
    (tmp_path / ".wireshark").mkdir()
    assert wireshark_profile.personal_folder({"HOME": str(tmp_path)}) == tmp_path / ".wireshark"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x\ny", "-x"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongUsage, match="use letters"):
        wireshark_profile.install(bench_file.load(), folder=tmp_path, name=name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("a file")
    with pytest.raises(BenchError, match=r"cannot be written: .*give another place by --dir"):
        wireshark_profile.install(bench_file.load(), folder=tmp_path)
