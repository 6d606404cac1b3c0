"""Bus entries are passed on to python-can; what they omit comes from python-can's own settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from otabench.bench.errors import BenchFileError
from otabench.bench.topology import bench_file
from otabench.bench.topology.entries import BusEntry
from otabench.bench.topology.model import Topology

CHANNEL = "interface: socketcan, channel: vcan0"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CAN_INTERFACE", "CAN_CHANNEL", "CAN_BITRATE", "CAN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def bus_of(entry: str) -> BusEntry:
    return bench_file.parse(bench_file.default_text().replace(CHANNEL, entry), name="x").buses["powertrain"]


def problems_of(entry: str) -> list[str]:
    with pytest.raises(BenchFileError) as caught:
        bus_of(entry)
    return str(caught.value).splitlines()


def test_environment_variables_fill_in_only_what_is_omitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAN_INTERFACE", "pcan")
    monkeypatch.setenv("CAN_CHANNEL", "PCAN_USBBUS2")
    assert (bus_of("options: {}").interface, bus_of("options: {}").channel) == ("pcan", "PCAN_USBBUS2")
    assert bus_of("channel: PCAN_USBBUS1").channel == "PCAN_USBBUS1"
    assert bus_of(CHANNEL).interface == "socketcan"


def test_a_context_of_canrc_wins_over_its_default_section(home: Path) -> None:
    (home / ".canrc").write_text(
        "[default]\ninterface = virtual\nchannel = 7\n[bench]\ninterface = kvaser\nchannel = 1\n"
    )
    assert (bus_of("options: {}").interface, bus_of("options: {}").channel) == ("virtual", 7)
    bus = bus_of("config_context: bench")
    assert bus.can_arguments() == {"interface": "kvaser", "channel": 1, "fd": False, "bitrate": 500_000}


NO_RATE = "{interface: pcan, channel: PCAN_USBBUS1}"


def bus_without_rate(entry: str = NO_RATE) -> BusEntry:
    before = f"{{{CHANNEL}, bitrate: 500000, fd: false}}"
    assert before in bench_file.default_text()
    return bench_file.parse(bench_file.default_text().replace(before, entry), name="x").buses["powertrain"]


def test_an_omitted_bit_rate_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bus_without_rate().can_arguments()["bitrate"] == 500_000
    monkeypatch.setenv("CAN_BITRATE", "250000")
    assert bus_without_rate().can_arguments()["bitrate"] == 250_000
    assert bus_of(CHANNEL).bitrate == 500_000


def test_omitted_can_fd_comes_from_canrc_with_its_data_bit_rate(home: Path) -> None:
    (home / ".canrc").write_text("[default]\nfd = True\ndata_bitrate = 2000000\n")
    bus = bus_without_rate("{channel: can0}")
    assert (bus.fd, bus.data_bitrate) == (True, 2_000_000)
    assert bus_of(CHANNEL).data_bitrate is None  # fd: false stands in the file


def test_further_keys_of_canrc_and_can_config_go_to_the_bus(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".canrc").write_text("[default]\ninterface = kvaser\nchannel = 0\naccept_virtual = True\n")
    assert bus_without_rate("{bitrate: 250000}").can_arguments() == {
        "interface": "kvaser", "channel": 0, "fd": False, "bitrate": 250_000, "accept_virtual": True
    }  # fmt: skip
    monkeypatch.setenv("CAN_CONFIG", '{"tseg1": 13, "bitrat": 1}')
    arguments = bus_without_rate("{bitrate: 250000}").can_arguments()
    assert (arguments["tseg1"], arguments["bitrat"]) == (13, 1)


def test_the_file_wins_over_the_context_and_that_over_the_default_section(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".canrc").write_text("[default]\nsingle_handle = True\n[left]\ninterface = kvaser\nchannel = 1\n")
    monkeypatch.setenv("CAN_CHANNEL_left", "2")
    monkeypatch.setenv("CAN_CHANNEL", "3")
    bus = bus_without_rate("{config_context: left, single_handle: false}")
    assert (bus.interface, bus.channel, bus.options) == ("kvaser", 2, {"single_handle": False})


@pytest.mark.parametrize(
    ("variables", "canrc", "expected"),
    [
        ({"CAN_CONFIG": "{"}, "", "python-can's settings cannot be read: "),
        ({"CAN_CONFIG": "[1]"}, "", "python-can's settings cannot be read: "),
        ({}, "channel = can0\n", "python-can's settings cannot be read: File contains no section headers"),
        (
            {"CAN_BITRATE": "fast"},
            "",
            "bitrate from python-can's environment variables (CAN_BITRATE, CAN_CONFIG, …): expected a number, found 'fast'",
        ),
        (
            {},
            "[default]\nbitrate = 1\n",
            "bitrate from ~/.canrc, ~/.can or /etc/can.conf, section default: expected at least 10000, found 1",
        ),
    ],
)
def test_a_wrong_setting_of_python_can_is_one_line_that_names_its_source(
    home: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], canrc: str, expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (home / ".canrc").write_text(canrc)
    with pytest.raises(BenchFileError) as caught:
        bus_without_rate()
    (problem,) = str(caught.value).splitlines()
    assert problem.startswith(f"x: buses.powertrain: {expected}")
    assert "\n" not in problem


def test_without_any_of_these_the_channel_is_missing() -> None:
    with pytest.raises(
        BenchFileError, match=r"buses\.powertrain\.channel: this key is missing; add it, or set CAN_CHANNEL"
    ):
        bus_of("options: {}")


def test_keys_of_the_interface_itself_are_passed_on() -> None:
    bus = bus_of("interface: slcan, channel: /dev/ttyACM0, tty_baudrate: 115200, sleep_after_open: 2.0")
    assert bus.can_arguments() == {
        "interface": "slcan",
        "channel": "/dev/ttyACM0",
        "fd": False,
        "bitrate": 500_000,
        "tty_baudrate": 115_200,
        "sleep_after_open": 2.0,
    }


FD_TIMING = (
    "f_clock: 80000000, nom_brp: 1, nom_tseg1: 119, nom_tseg2: 40, nom_sjw: 40, "
    "data_brp: 1, data_tseg1: 29, data_tseg2: 10, data_sjw: 10"
)


@pytest.mark.parametrize(
    ("interface", "further"),
    [
        ("kvaser", "accept_virtual: true"),
        ("kvaser", "driver_mode: true"),
        ("kvaser", "single_handle: true"),
        ("kvaser", "exclusive: true"),
        ("kvaser", "f_clock: 8000000, brp: 1, tseg1: 13, tseg2: 2, sjw: 1, nof_samples: 1"),
        ("pcan", "auto_reset: true"),
        ("pcan", FD_TIMING),
        ("pcan", FD_TIMING.replace("f_clock: 80000000", "f_clock_mhz: 80")),
        ("slcan", "f_clock: 8000000, brp: 1, tseg1: 13, tseg2: 2, sjw: 1, nof_samples: 1"),
        ("slcan", "btr: '001C'"),
        ("socketcan", "receive_own_messages: true, ignore_rx_error_frames: true"),
        ("gs_usb", "index: 0"),
        ("neovi", "type_filter: ValueCAN4, serial: V12345"),
        ("systec", "device_number: 1"),
        ("vector", "app_name: bench, channel_index: 0"),
        ("virtual", "ignore_config: true"),
    ],
)
def test_a_key_that_python_can_accepts_is_passed_on(interface: str, further: str) -> None:
    expected = yaml.safe_load("{" + further + "}")
    arguments = bus_of(f"interface: {interface}, channel: 0, {further}").can_arguments()
    assert {key: arguments[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            "interface: gs_usb, channel: 0, bitrat: 1",
            "bitrat: unknown key; did you mean 'bitrate'? (`options: {bitrat: …}`",
        ),
        ("interface: kvaser, channel: 0, bitrat: 1", "bitrat: unknown key; did you mean 'bitrate'?"),
        ("interface: slcan, channel: x, tty_baudrat: 1", "tty_baudrat: unknown key; did you mean 'tty_baudrate'?"),
        ("interface: kvaser, channel: 0, nof_sampels: 1", "nof_sampels: unknown key; did you mean 'nof_samples'?"),
        (
            f"{CHANNEL}, tty_baudrate: 115200",
            "tty_baudrate: unknown key; socketcan has can_filters, ignore_rx_error_frames, local_loopback, receive_own_mes",
        ),
    ],
)
def test_a_misspelt_key_is_reported_with_the_way_to_pass_it_on(entry: str, expected: str) -> None:
    (problem,) = problems_of(entry)
    assert problem.startswith(f"x: buses.powertrain.{expected}")
    assert "passes it on to can.Bus as it is" in problem


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            "interface: sockettcan, channel: can0",
            "interface: python-can has no 'sockettcan'; did you mean 'socketcan'?",
        ),
        ("interface: usbthing, channel: 0", "interface: python-can has no 'usbthing'; it has canalystii, cantact, "),
        ("interface: socketcand, channel: can0", "host: this key is missing; interface socketcand needs it: add it"),
    ],
)
def test_an_unknown_interface_or_a_missing_key_of_it_is_reported(entry: str, expected: str) -> None:
    assert problems_of(entry)[0].startswith(f"x: buses.powertrain.{expected}")


def test_an_unknown_interface_in_the_environment_names_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAN_INTERFACE", "sockettcan")
    (problem,) = problems_of("channel: can0")
    assert problem.startswith(
        "x: buses.powertrain: interface from python-can's environment variables (CAN_BITRATE, CAN_CONFIG, …): "
    )
    assert "python-can has no 'sockettcan'; did you mean 'socketcan'?" in problem


def test_any_key_below_options_is_passed_on() -> None:
    assert bus_of(f"{CHANNEL}, options: {{bitrat: 1}}").can_arguments()["bitrat"] == 1


def test_the_commented_file_is_the_default_bench() -> None:
    assert bench_file.parse(bench_file.commented_text(), name="x") == bench_file.load()


def keys_of_all_models() -> dict[str, list[str]]:
    """Return the keys of every model of a bench file, by model."""
    schema = Topology.model_json_schema()
    models = {"Topology": schema, **schema["$defs"]}
    return {name: list(told["properties"]) for name, told in models.items() if "properties" in told}


def test_all_models_are_covered() -> None:
    assert keys_of_all_models().keys() >= {
        "Topology", "VehicleEntry", "BusEntry", "EcuEntry", "IsoTpConfig", "EcuTiming", "PowerEntry", "SecurityEntry",
        "PeriodicFrame", "PeriodicSignal",
    }  # fmt: skip


UNCOMMENTED = re.sub(r"^( *)# (?= *[a-z_0-9]+:(?: |$))", r"\1", bench_file.commented_text(), flags=re.MULTILINE)
"""The commented file with all its examples uncommented."""


def written(content: Any) -> set[str]:
    """Return every key of a YAML text."""
    if isinstance(content, dict):
        return set(content) | {key for value in content.values() for key in written(value)}
    return {key for value in content for key in written(value)} if isinstance(content, list) else set()


@pytest.mark.parametrize("model", keys_of_all_models())
def test_the_commented_file_has_an_example_of_every_key(model: str) -> None:
    said_in_words = {"secret"}  # beside secret_file, as only one may stand there
    assert (
        set(keys_of_all_models()[model]) - written(yaml.load(UNCOMMENTED, Loader=yaml.BaseLoader)) - said_in_words
        == set()
    )
    assert all(key in bench_file.commented_text() for key in said_in_words)


def test_all_examples_of_the_commented_file_are_valid_together(home: Path) -> None:
    (home / ".canrc").write_text("[left]\ninterface = socketcan\n")
    bench = bench_file.parse(UNCOMMENTED, name="x")
    assert {"usb", "serial", "left", "kvaser", "peak"} <= bench.buses.keys()
    assert bench.ecus["brakes"].kind == "board"
    assert bench.isotp_of("door").addressing == "extended"
    plain = bench_file.load()
    for name, ecu in plain.ecus.items():  # what the comments call the defaults are the defaults
        assert bench.ecus[name].timing == ecu.timing
        assert bench.isotp_of(name) == plain.isotp_of(name)
        assert bench.part_number_of(name) == plain.part_number_of(name)
        assert bench.image_number_of(name) == plain.image_number_of(name)
        assert bench.ecus[name].model_copy(update={"isotp": None, "part_number": None, "image_number": None}) == ecu


BOARD = "kind: board, serial: ENGINE-1, security: {secret: " + "a0" * 32 + "}"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            BOARD + ", power: {driver: command, on: x}",
            "ecus.engine.power: driver command needs both commands, on and off",
        ),
        (BOARD + ", power: {on: x}", "ecus.engine.power: the commands on and off need driver: command"),
        (BOARD + ", power: {driver: simulated}", "ecus.engine.power.driver: a board is not simulated"),
        (BOARD.replace("secret:", "secret_file: a, secret:"), "ecus.engine.security: secret and secret_file are both"),
        ("control_port: 9001", "ecus.engine.control_port: the bench chooses the control port of a simulated ECU"),
        ("security: {algorithm: mine}", "ecus.engine.security.algorithm: 'mine' does not fit"),
        ("isotp: {addressing: extended}", "ecus.engine.isotp: addressing extended needs target_address"),
    ],
)
def test_entries_that_contradict_themselves_are_one_line(changed: str, expected: str) -> None:
    text = bench_file.default_text().replace("kind: simulated", changed, 1)
    with pytest.raises(BenchFileError) as caught:
        bench_file.parse(text, name="x")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"x: {expected}"), line


def test_files_that_a_bench_file_names_are_relative_to_it(tmp_path: Path) -> None:
    text = bench_file.default_text().replace(
        "kind: simulated", BOARD.replace(f"secret: {'a0' * 32}", "secret_file: s"), 1
    )
    file = tmp_path / "my.bench.yaml"
    file.write_text("keys: ./keys\n" + text.replace("profile: iso14229-ab", "profile: ./mine.yaml", 1))
    bench = bench_file.load(file)
    assert bench.ecus["engine"].security.secret_file == tmp_path / "s"
    assert bench.ecus["engine"].profile == str(tmp_path / "mine.yaml")
    assert bench.keys == tmp_path / "keys"
    assert bench.ecus["adas"].profile == "iso14229-ab"
