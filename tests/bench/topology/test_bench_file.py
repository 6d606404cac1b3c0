"""Mistakes in a bench file: each gives one line with file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.errors import BenchFileError
from otabench.bench.topology import bench_file, wording
from otabench.bench.topology.model import Topology
from otabench.proto.process_config import EcuTiming

FILE = "my.bench.yaml"


def problems_of(text: str) -> list[str]:
    with pytest.raises(BenchFileError) as caught:
        bench_file.parse(text, name=FILE)
    return str(caught.value).splitlines()


def changed(before: str, after: str) -> str:
    text = bench_file.default_text()
    assert before in text
    return text.replace(before, after, 1)


def test_the_default_bench_is_the_documented_one() -> None:
    bench = bench_file.load()
    assert bench.vehicle.vin == "W0TABENCH00000001"
    assert bench.buses["powertrain"].can_arguments() == {"interface": "socketcan", "channel": "vcan0", "fd": False}
    assert bench.buses["powertrain"].bitrate == 500_000
    ids = {name: (ecu.request_id, ecu.response_id, ecu.hardware_id) for name, ecu in bench.ecus.items()}
    assert ids == {"engine": (0x7E0, 0x7E8, "engine-mcu-a"), "adas": (0x7E1, 0x7E9, "adas-soc-b")}


def test_an_image_number_is_the_place_in_the_file_by_default() -> None:
    bench = bench_file.load()
    assert [bench.image_number_of(name) for name in bench.ecus] == [1, 2]
    given = bench_file.parse(
        changed("hardware_id: engine-mcu-a", "hardware_id: engine-mcu-a, image_number: 7"), name=FILE
    )
    assert [given.image_number_of(name) for name in given.ecus] == [7, 2]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("fd: false", "fd: false, bitrat: 1", "buses.powertrain.bitrat: unknown key; did you mean 'bitrate'?"),
        ("kind: simulated", "kint: simulated", "ecus.engine.kint: unknown key; did you mean 'kind'?"),
        ("{vin:", "{xyz: 1, vin:", "vehicle.xyz: unknown key; known keys here: conditions, inhibit, time_zone, vin"),
        ("vehicle:", "vehcle: {}\nvehicle:", "vehcle: unknown key; did you mean 'vehicle'?"),
        (
            "profile: iso14229-ab",
            "profile: iso14229-ab, timing: {boot: 1}",
            "ecus.engine.timing.boot: unknown key; did you mean 'boot_s'?",
        ),
        ("hardware_id: engine-mcu-a,", "", "ecus.engine.hardware_id: this key is missing; add it"),
        (
            "0x7E8",
            "fast",
            "ecus.engine.response_id: expected a number, found 'fast'; write it as 500000 or 0x7E0, unquoted",
        ),
        (
            "W0TABENCH00000001",
            "W0TABENCH00000001, inhibit: {id: 0x7E8}",
            "vehicle.inhibit.id: 0x7E8 is response_id of ecus.engine",
        ),
        ("W0TABENCH00000001", "W0TABENCH00000001, time_zone: Mars", "vehicle.time_zone: "),
        ("W0TABENCH00000001", "SHORT", "vehicle.vin: 'SHORT' does not fit; expected 17 capital letters and digits"),
        ("bitrate: 500000", "bitrate: 1", "buses.powertrain.bitrate: expected at least 10000, found 1"),
        ("kind: simulated", "kind: real", "ecus.engine.kind: expected 'simulated' or 'board', found 'real'"),
        ("bus: powertrain", "bus: body", "ecus.engine.bus: there is no bus 'body'; known buses: powertrain"),
        ("engine:", "Engine:", "ecus.Engine: 'Engine' is not a valid ECU name"),
        ("0x7E0", "0x7DF", "ecus.engine.request_id: 0x7DF is the functional request identifier"),
        ("0x7E9", "0x7E8", "ecus.adas.response_id: 0x7E8 is already ecus.engine.response_id on bus 'powertrain'"),
        ("0x7E1", "0x7E8", "ecus.adas.request_id: 0x7E8 is already ecus.engine.response_id on bus 'powertrain'"),
        ("adas-soc-b", "engine-mcu-a", "ecus.adas.hardware_id: 'engine-mcu-a' is already that of 'engine'"),
        ("engine-mcu-a", "engine-mcu-a, image_number: 2", "ecus.adas.image_number: 2 is already that of 'engine'"),
        ("engine-mcu-a", "engine-mcu-a, image_number: 256", "ecus.engine.image_number: expected at most 255"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_remedy(before: str, after: str, expected: str) -> None:
    found = problems_of(changed(before, after))
    assert any(line.startswith(f"{FILE}: {expected}") for line in found), found
    assert all("\n" not in line for line in found)


SECRET = "engine: {kind: simulated, security: {secret: '%s'}"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "request_id: 0x7E0",
            "request_id: 7E0",
            "ecus.engine.request_id: '7E0' is text; write the number 0x7E0, unquoted",
        ),
        (
            "request_id: 0x7E0",
            "request_id: '0x7E0'",
            "ecus.engine.request_id: '0x7E0' is text; write the number 0x7E0, unq",
        ),
        (
            "request_id: 0x7E0",
            "request_id: []",
            "ecus.engine.request_id: expected a number, found []; write it as 500000",
        ),
        ("kind: simulated", "features: canfd, kind: simulated", "ecus.engine.features: expected a list; write [canfd]"),
        (
            "kind: simulated",
            "features: {id: 1}, kind: simulated",
            "ecus.engine.features: expected a list, found {'id': 1};",
        ),
        (
            "{interface: socketcan, channel: vcan0, bitrate: 500000, fd: false}",
            "vcan0",
            "buses.powertrain: expected keys",
        ),
        (
            "channel: vcan0",
            "channel: [vcan0]",
            "buses.powertrain.channel: expected a name or a number, found ['vcan0']; ",
        ),
        (
            "channel: vcan0",
            "channel:",
            "buses.powertrain.channel: expected a name or a number, found nothing; write it",
        ),
        (
            "hardware_id: engine-mcu-a",
            "hardware_id: 'a b'",
            "ecus.engine.hardware_id: 'a b' does not fit; expected 1 to 32",
        ),
        (
            "hardware_id: engine-mcu-a",
            "hardware_id: 17",
            "ecus.engine.hardware_id: expected text, found 17; quote it: '17'",
        ),
        (
            "name: EngineSpeed",
            "nam: EngineSpeed",
            "ecus.engine.periodic.0.signals.0.nam: unknown key; did you mean 'name'?",
        ),
        ("period_ms: 100", "perod_ms: 100", "ecus.engine.periodic.0.perod_ms: unknown key; did you mean 'period_ms'?"),
        (
            "engine: {kind: simulated",
            SECRET % ("ABCDEF" * 3),
            "ecus.engine.security.secret: a secret of 18 characters does not fit; expected 64 hexadecimal digits",
        ),
    ],
)
def test_a_wrong_type_is_reported_with_the_right_form(before: str, after: str, expected: str) -> None:
    found = problems_of(changed(before, after))
    assert any(line.startswith(f"{FILE}: {expected}") for line in found), found


def test_a_section_that_is_not_a_mapping_is_reported_with_the_right_form() -> None:
    (line,) = problems_of("vehicle: {vin: W0TABENCH00000001}\nbuses: [a]\necus: {}\n")[:1]
    assert line == f"{FILE}: buses: expected keys and values, found ['a']; write `buses: {{NAME: …}}`"


def test_a_misspelt_channel_does_not_hide_other_mistakes() -> None:
    found = problems_of(changed("channel: vcan0", "chanel: vcan0").replace("kind: simulated", "kint: simulated", 1))
    assert [line.split("; ")[0] for line in found] == [
        f"{FILE}: buses.powertrain.chanel: unknown key",
        f"{FILE}: buses.powertrain.channel: this key is missing",
        f"{FILE}: ecus.engine.kint: unknown key",
    ]
    assert "did you mean 'channel'?" in found[0]


def test_a_secret_may_have_capital_letters_and_is_never_quoted() -> None:
    bench = bench_file.parse(changed("engine: {kind: simulated", SECRET % ("AB" * 32)), name=FILE)
    assert bench.ecus["engine"].security.secret == "ab" * 32
    assert not any("12345678" in line for line in problems_of(changed("engine: {kind: simulated", SECRET % "12345678")))


def patterned_keys() -> list[str]:
    """Return every key of a bench file whose value must match a pattern."""
    schema = Topology.model_json_schema()
    found = {
        key
        for model in [schema, *schema["$defs"].values()]
        for key, told in model.get("properties", {}).items()
        if any("pattern" in one for one in [told, *told.get("anyOf", [])])
    }
    assert {"vin", "hardware_id", "secret", "name", "unit"} <= found
    return sorted(found)


@pytest.mark.parametrize("key", patterned_keys())
def test_a_form_is_described_in_words_not_as_a_pattern(key: str) -> None:
    finding = wording.field_finding(
        {"type": "string_pattern_mismatch", "loc": ("x", key), "input": "§", "ctx": {"pattern": "^[§]$"}, "msg": "no"}
    )
    assert finding.problem.endswith("does not fit")
    assert finding.remedy.startswith("expected ")
    assert "^[" not in finding.sentence()


def test_every_mistake_is_reported_not_only_the_first() -> None:
    text = changed("kind: simulated", "kint: simulated").replace("fd: false", "fd: false, bitrat: 1")
    assert len(problems_of(text)) == 2


def test_all_keys_that_a_board_is_missing_are_told_at_once() -> None:
    text = "vehicle: {vin: W0TABENCH00000001}\nbuses: {p: {channel: vcan0}}\necus:\n  engine: {bus: p, kind: board}\n"
    keys = [problem.split(": ")[1].removeprefix("ecus.engine.") for problem in problems_of(text)]
    assert keys == ["request_id", "response_id", "hardware_id", "serial", "security.secret"]


def test_the_same_identifier_on_another_bus_is_allowed() -> None:
    text = changed("buses:", "buses:\n  body: {channel: vcan1}").replace(
        "adas:   {kind: simulated, bus: powertrain", "adas: {bus: body"
    )
    bench = bench_file.parse(text.replace("0x7E1", "0x7E0"), name=FILE)
    assert bench.ecus["adas"].request_id == bench.ecus["engine"].request_id


def test_two_buses_on_one_interface_are_a_mistake() -> None:
    text = changed("buses:", "buses:\n  body: {channel: vcan0}")
    assert problems_of(text) == [
        f"{FILE}: buses.powertrain.channel: 'vcan0' is already bus 'body'; describe each bus in one entry only"
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "id: 0x220",
            "id: 0x7E8",
            "ecus.adas.periodic: 0x7E8 of LaneStatus is ecus.engine.response_id on bus 'powertrain'",
        ),
        (
            "id: 0x220",
            "id: 0x7E0",
            "ecus.adas.periodic: 0x7E0 of LaneStatus is ecus.engine.request_id on bus 'powertrain'",
        ),
        (
            "fd: false",
            "fd: false, data_bitrate: 2000000",
            "buses.powertrain.data_bitrate: needs CAN FD; add `fd: true`",
        ),
        (
            "fd: false",
            "fd: true, data_bitrate: 250000",
            "buses.powertrain.data_bitrate: 250000 is below bitrate 500000; ",
        ),
        (
            "interface: socketcan, channel: vcan0, bitrate: 500000, fd: false",
            "interface: slcan, channel: /dev/ttyACM0, fd: true, data_bitrate: 2000000",
            "buses.powertrain.fd: slcan needs an explicit bit timing for CAN FD; add data_brp, data_sjw, data_tseg1, ",
        ),
        (
            "interface: socketcan, channel: vcan0, bitrate: 500000, fd: false",
            "interface: pcan, channel: PCAN_USBBUS1, fd: true, f_clock_mhz: 80, nom_brp: 1",
            "buses.powertrain.fd: pcan needs an explicit bit timing for CAN FD; add data_brp, data_sjw, data_tseg1, data_tseg2, ",
        ),
        (
            "interface: socketcan, channel: vcan0, bitrate: 500000, fd: false",
            "interface: gs_usb, channel: 0, fd: true",
            "buses.powertrain.fd: python-can's gs_usb has no CAN FD; `fd: false`, or the kernel's driver (socketcan)",
        ),
        (
            "channel: vcan0, bitrate: 500000, fd: false",
            "channel: slcan0, bitrate: 500000, fd: true",
            "buses.powertrain.fd: slcan0 is the name of a serial adapter (slcan), which has no CAN FD; `fd: false`",
        ),
        (
            "profile: iso14229-ab",
            "profile: iso14229-ab, isotp: {fd: true}",
            "ecus.engine.isotp.fd: bus 'powertrain' is",
        ),
        (
            "profile: iso14229-ab",
            "profile: iso14229-ab, isotp: {tx_dl: 64}",
            "ecus.engine.isotp.tx_dl: 64 bytes need CAN",
        ),
        (
            "profile: iso14229-ab",
            "profile: iso14229-ab, timing: {p2_server_max_s: -1}",
            "ecus.engine.timing.p2_server_max_s: expected more than 0, found -1",
        ),
        (
            "profile: iso14229-ab",
            "profile: iso14229-ab, timing: {p2_server_max_s: 66}",
            "ecus.engine.timing.p2_server_max_s: expected at most 65.535, found 66",
        ),
    ],
)
def test_entries_that_contradict_each_other_are_one_line(before: str, after: str, expected: str) -> None:
    (line,) = problems_of(changed(before, after))
    assert line.startswith(f"{FILE}: {expected}")


def test_no_time_of_an_ecu_may_be_negative() -> None:
    times = ", ".join(f"{key}: -1" for key in EcuTiming.model_fields)
    found = problems_of(changed("profile: iso14229-ab", f"profile: iso14229-ab, timing: {{{times}}}"))
    assert [line.split(": ")[1] for line in found] == [f"ecus.engine.timing.{key}" for key in EcuTiming.model_fields]


def test_a_periodic_frame_may_have_the_identifier_of_an_ecu_on_another_bus() -> None:
    text = changed("buses:", "buses:\n  body: {channel: vcan1}").replace(
        "adas:   {kind: simulated, bus: powertrain", "adas: {bus: body"
    )
    bench = bench_file.parse(text.replace("id: 0x220", "id: 0x7E8"), name=FILE)
    assert bench.ecus["adas"].periodic[0].id == bench.ecus["engine"].response_id


def test_can_fd_by_its_whole_bit_timing_is_accepted() -> None:
    timing = "f_clock: 80000000, nom_brp: 1, nom_tseg1: 119, nom_tseg2: 40, nom_sjw: 40"
    timing += ", data_brp: 1, data_tseg1: 29, data_tseg2: 10, data_sjw: 10"
    for wanted in (timing, timing.replace("f_clock: 80000000", "f_clock_mhz: 80")):
        text = changed("interface: socketcan, channel: vcan0", "interface: pcan, channel: PCAN_USBBUS1")
        text = text.replace("fd: false", f"fd: true, {wanted}")
        assert bench_file.parse(text, name=FILE).buses["powertrain"].fd


def test_without_kernel_can_an_ecu_keeps_its_own_iso_tp_parameters() -> None:
    said = "isotp: {addressing: extended, target_address: 0x11, source_address: 0xF1, padding: 0xAA, transport: kernel}"
    text = changed("profile: iso14229-ab", f"profile: iso14229-ab, {said}")
    isotp = bench_file.parse(text, name=FILE).without_kernel_can(udp_ports=[43201]).isotp_of("engine")
    assert (isotp.addressing, isotp.target_address, isotp.source_address, isotp.padding) == (
        "extended",
        0x11,
        0xF1,
        0xAA,
    )
    assert (isotp.transport, isotp.block_size) == ("user", 8)


def test_without_kernel_can_a_block_size_that_is_given_stays() -> None:
    text = changed("profile: iso14229-ab", "profile: iso14229-ab, isotp: {block_size: 4}")
    isotp = bench_file.parse(text, name=FILE).without_kernel_can(udp_ports=[43201]).isotp_of("engine")
    assert (isotp.transport, isotp.block_size) == ("user", 4)


def test_a_board_needs_its_serial_and_secret() -> None:
    found = problems_of(changed("kind: simulated", "kind: board"))
    assert [line.split(": ")[1] for line in found] == ["ecus.engine.serial", "ecus.engine.security.secret"]


def test_a_key_that_is_given_twice_is_reported_with_its_line() -> None:
    text = bench_file.default_text() + "vehicle: {vin: W0TABENCH00000002}\n"
    line = len(text.splitlines())
    assert problems_of(text) == [f"{FILE}: line {line}, column 1: the key 'vehicle' is given twice; correct that line"]


@pytest.mark.parametrize("text", ["", "- a\n", "just words"])
def test_a_file_that_is_not_a_mapping_is_refused(text: str) -> None:
    assert problems_of(text) == [f"{FILE}: expected the keys vehicle, buses and ecus; see `otabench bench init FILE`"]


def test_broken_yaml_names_line_and_column() -> None:
    (line,) = problems_of("vehicle: {vin: [\n")
    assert line.startswith(f"{FILE}: line 2, column 1: ")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchFileError, match=r"absent\.yaml: the bench file cannot be read: No such file"):
        bench_file.load(tmp_path / "absent.yaml")


def test_without_kernel_can_each_bus_has_its_own_group() -> None:
    text = changed("buses:", "buses:\n  body: {channel: vcan1}").replace(
        "fd: false}", "fd: false, options: {receive_own_messages: false}}"
    )
    bench = bench_file.parse(text, name=FILE).without_kernel_can(udp_ports=[43201, 43202])
    assert {bus.interface for bus in bench.buses.values()} == {"udp_multicast"}
    assert len({bus.channel for bus in bench.buses.values()}) == 2
    assert [bus.options["port"] for bus in bench.buses.values()] == [43201, 43202]
    isotp = bench.isotp_of("engine")
    assert (isotp.transport, isotp.block_size) == ("user", 8)


def test_two_buses_on_one_udp_port_are_refused() -> None:
    text = changed(
        "  powertrain: {interface: socketcan, channel: vcan0",
        "  body: {interface: udp_multicast, channel: 239.74.163.9}\n"
        "  powertrain: {interface: udp_multicast, channel: 239.74.163.8",
    )
    (problem,) = problems_of(text)
    assert problem.startswith(f"{FILE}: buses.powertrain.port: bus 'body' uses the same UDP port")
    apart = text.replace("239.74.163.9}", "239.74.163.9, port: 43203}")
    assert bench_file.parse(apart, name=FILE).buses["body"].can_arguments()["port"] == 43203


def test_options_of_a_bus_are_passed_on_unchanged() -> None:
    text = changed(
        "interface: socketcan, channel: vcan0", "interface: pcan, channel: PCAN_USBBUS1, options: {state: 1}"
    )
    assert bench_file.parse(text, name=FILE).buses["powertrain"].can_arguments() == {
        "interface": "pcan",
        "channel": "PCAN_USBBUS1",
        "fd": False,
        "bitrate": 500_000,
        "state": 1,
    }


def test_mistakes_between_valid_entries_are_reported_beside_invalid_ones() -> None:
    text = """
vehicle: {vin: 1}
buses:
  ../x: {interface: socketcan, channel: vcan0}
  body: {interface: socketcan, channel: an-interface-with-a-long-name}
  broken: {interface: socketcan, channel: vcan9, bitrate: fast}
ecus:
  Engine: {bus: body, request_id: 0x7E0, response_id: 0x7E8, hardware_id: same}
  adas: {bus: body, request_id: 0x7E0, response_id: 0x7E9, hardware_id: same}
  door: {bus: broken, request_id: 0x7E2, response_id: 0x7EA, hardware_id: door-mcu}
  lamp: {bus: body, request_id: many, response_id: 0x7EB, hardware_id: lamp-mcu}
"""
    found = [line.removeprefix(f"{FILE}: ").split(";")[0] for line in problems_of(text)]
    assert [line.split(":")[0] for line in found] == [
        "vehicle.vin",
        "buses.broken.bitrate",
        "ecus.lamp.request_id",
        "ecus.adas.request_id",
        "ecus.Engine",
        "ecus.adas.hardware_id",
        "buses.../x",
        "buses.body.channel",
    ]
    assert "'Engine' is not a valid ECU name" in found[4]
    assert "'../x' is not a bus name" in found[6]


def test_a_boards_secrets_may_all_be_choices_and_certificates_have_their_places() -> None:
    board = changed("kind: simulated", "kind: board, serial: E-1, security: {choices: {A-1: {secret: ab}}}")
    assert bench_file.parse(board, name=FILE).ecus["engine"].security.choices["A-1"].secret == "ab"
    files = "authentication: {certificate: c.pem, key: ./k.pem}"
    loaded = bench_file.parse(board.replace("serial: E-1", f"serial: E-1, {files}"), name=FILE, folder=Path("/lab"))
    given = loaded.ecus["engine"].authentication
    assert given is not None
    assert (given.certificate, given.key) == (Path("/lab/c.pem"), Path("/lab/k.pem"))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("kind: simulated, authentication: {certificate: c, key: k}", "ecus.engine.authentication.root: the certificate that"),
        (
            "kind: board, serial: E-1, security: {secret: ''}, authentication: {certificate: c, key: k, root: r}",
            "ecus.engine.authentication.root: a board has its own root",
        ),
        ("kind: simulated, security: {choices: {A: {}}}", "ecus.engine.security.choices.A: give secret or secret_file"),
        (
            "kind: simulated, security: {choices: {A: {secret: ab, secret_file: f}}}",
            "ecus.engine.security.choices.A: give secret or secret_file",
        ),
    ],
)  # fmt: skip
def test_wrong_secrets_and_certificates_are_refused(entry: str, problem: str) -> None:
    (line,) = problems_of(changed("kind: simulated", entry))
    assert line.startswith(f"{FILE}: {problem}")
