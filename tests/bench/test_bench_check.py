"""`otabench bench check`: everything that a bench file names is looked at, a line each, with the remedy."""

from __future__ import annotations

from pathlib import Path

from bench import bench_check, topology

BOARD = """
vehicle: {vin: W0TABENCH00000001}
keys: ./keys
buses:
  usb: {interface: socketcan, channel: can77}
  air: {interface: udp_multicast, channel: 239.74.163.77}
ecus:
  engine:
    kind: board
    bus: BUS
    request_id: 0x7E0
    response_id: 0x7E8
    hardware_id: engine-mcu-a
    serial: ENGINE-1
    security: {secret_file: ./engine.secret}
    power: {driver: command, on: "no-such-relay 1", off: "true"}
"""


def findings(folder: Path, text: str) -> dict[str, list[str]]:
    file = folder / "my.bench.yaml"
    file.write_text(text)
    told: dict[str, list[str]] = {}
    for fine, about, words in bench_check.examine(topology.load(file)):
        told.setdefault(about, []).append(f"{'ok' if fine else 'fail'} {words}")
    return told


def test_every_thing_that_is_missing_is_one_line_with_its_remedy(tmp_path: Path) -> None:
    told = findings(
        tmp_path, BOARD.replace("BUS", "usb").replace("hardware_id", "profile: ./mine.yaml\n    hardware_id")
    )
    assert told["bus usb"][0].startswith("fail there is no CAN interface can77 on this kernel; plug the adapter in")
    assert told["bus air"] == ["ok udp_multicast 239.74.163.77 is there (500 kbit/s wanted)"]
    profile, power, secret = told["ECU engine"]
    assert "flash profile" in profile and "mine.yaml: cannot be read" in profile
    assert power == "fail ecus.engine.power.on: there is no program 'no-such-relay'; install it, or give its path"
    assert "engine.secret: the security access secret of engine cannot be read: No such file" in secret


def test_a_board_that_does_not_answer_is_named_with_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "engine.secret").write_text("ab" * 32 + "\n")
    told = findings(tmp_path, BOARD.replace("BUS", "air").replace("no-such-relay 1", "true"))
    (line,) = told["ECU engine"]
    assert line.startswith("fail board engine: 22 F1A1 read: no answer in time")
    assert "power, wiring, termination, bit rate, and ecus.engine.request_id/response_id?" in line


def test_a_board_without_keys_and_a_plug_in_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "engine.secret").write_text("ab" * 32)
    text = BOARD.replace("BUS", "usb").replace("keys: ./keys", "").replace("no-such-relay 1", "true")
    told = findings(tmp_path, text.replace("security: {", "security: {algorithm: 'no_such_module:key', "))
    assert told["keys"][0].startswith(
        "fail a board trusts the keys it was given, and this file names none: add `keys: DIR`"
    )
    assert "module no_such_module cannot be imported" in told["ECU engine"][0]
