"""The real process on a real bus: the whole update in both transports, power and faults by the control port, ends and errors."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bsdiff4
import pytest

from ecu_firmware_sim.layout import METADATA_WINDOW, SLOT_WINDOW
from proto import trace
from tests.ecu.factory import ImageMaker, Keys, Manifest, code
from tests.ecu.process import EcuProcess, KernelWire, Tester, UserWire, make_config

VCAN: dict[str, Any] = {"interface": "socketcan", "channel": "vcan0"}
MULTICAST: dict[str, Any] = {"interface": "udp_multicast", "channel": "239.74.163.2", "port": 43211}

Rig = tuple[EcuProcess, Tester]
IMAGE_BYTES = 40_000


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, make_image: ImageMaker) -> Iterator[Callable[..., Rig]]:
    """Starts an ECU that runs 1.0.0, and a tester on its bus."""
    opened: list[Any] = []

    def start(transport: str, bus: dict[str, Any], **more: Any) -> Rig:
        old = make_image("1.0.0", counter=1, body=code("1.0.0", IMAGE_BYTES))
        process = EcuProcess(make_config(tmp_path, keys, old, bus=bus, transport=transport, **more), tmp_path)
        process.start()
        opened.append(process.kill)
        wire = KernelWire(str(bus["channel"])) if transport == "kernel" else UserWire(bus)
        opened.append(wire.close)
        return process, Tester(wire)

    yield start
    for close in reversed(opened):
        close()


@pytest.fixture
def update(make_image: ImageMaker) -> bytes:
    return make_image("2.0.0", counter=2, body=code("2.0.0", IMAGE_BYTES))


HAS_VCAN = Path("/sys/class/net/vcan0").exists() and hasattr(socket, "CAN_ISOTP")
QUICKEST: tuple[str, dict[str, Any]] = ("kernel", VCAN) if HAS_VCAN else ("user", MULTICAST)
"""For what does not depend on the transport."""

BUSES = [
    pytest.param("kernel", VCAN, marks=pytest.mark.vcan, id="kernel-vcan"),
    pytest.param("user", VCAN, marks=pytest.mark.vcan, id="user-vcan"),
    pytest.param("user", MULTICAST, id="user-multicast"),
]


def stage(tester: Tester, keys: Keys, image: bytes, *, patch: bytes | None = None) -> bytes:
    tester.unlock()
    manifest = Manifest(image).signed(keys.targets)
    assert tester.download(manifest, address=METADATA_WINDOW) == b"\x77"
    erase = b"\x31\x01\xff\x00\x44" + SLOT_WINDOW.to_bytes(4, "big") + (0x100000).to_bytes(4, "big")
    assert tester.ask(erase) == b"\x71\x01\xff\x00\x00"
    if patch is None:
        return tester.download(image, address=SLOT_WINDOW)
    return tester.download(patch, address=SLOT_WINDOW, data_format=0x10, size=len(image))


@pytest.mark.parametrize(("transport", "bus"), BUSES)
def test_an_update_is_staged_tried_and_confirmed(
    rig: Callable[..., Rig], keys: Keys, update: bytes, transport: str, bus: dict[str, Any]
) -> None:
    process, tester = rig(transport, bus)
    assert tester.ask("22 F1 89") == b"\x62\xf1\x891.0.0"
    assert tester.broadcast("10 03") == bytes.fromhex("50 03 00 32 01 F4")
    assert tester.broadcast("10 55", timeout_s=0.3) is None
    assert stage(tester, keys, update) == b"\x77"
    assert tester.ask("31 01 02 02") == b"\x71\x01\x02\x02\x00"
    assert tester.ask("31 01 02 10") == b"\x71\x01\x02\x10\x00"
    assert tester.ask("11 01") == b"\x51\x01"
    assert process.await_mode("application")["slots"][1] == {"state": "TRIAL", "version": "2.0.0"}
    assert tester.ask("22 F1 89") == b"\x62\xf1\x892.0.0"
    tester.ask("10 03")
    assert tester.ask("31 01 02 11") == b"\x71\x01\x02\x11\x00"
    assert process.control(op="state")["slots"] == [
        {"state": "CONFIRMED", "version": "1.0.0"},
        {"state": "CONFIRMED", "version": "2.0.0"},
    ]
    assert process.stop() == 0
    events = [event for event in trace.read(process.config.trace or Path()) if event.event == "ecu.slot"]
    assert [event.data["to"] for event in events] == ["INVALID", "EMPTY", "INVALID", "STAGED", "TRIAL", "CONFIRMED"]
    assert {event.job_id for event in events} == {"job-1"}


@pytest.mark.parametrize(("transport", "bus"), BUSES[:1] + BUSES[2:])
def test_power_lost_in_a_transfer_leaves_the_slot_invalid_and_the_confirmed_one_running(
    rig: Callable[..., Rig], keys: Keys, update: bytes, transport: str, bus: dict[str, Any]
) -> None:
    process, tester = rig(transport, bus)
    assert process.control(op="fault", kind="power-cycle-at", bytes=20_000, off_s=0.2)["ok"]
    with pytest.raises((AssertionError, OSError)):
        stage(Tester(Quick(tester)), keys, update)
    state = process.await_mode("application")
    assert [slot["state"] for slot in state["slots"]] == ["CONFIRMED", "INVALID"]
    assert state["active_slot"] == 0 and state["faults"] == []


class Quick:
    """A wire that waits for an answer only shortly."""

    def __init__(self, tester: Tester) -> None:
        self._wire = tester._wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def receive(self, timeout_s: float) -> bytes | None:
        return self._wire.receive(min(timeout_s, 1.0))


def test_slow_flash_is_announced_by_78_and_the_server_stays_awake(
    rig: Callable[..., Rig], keys: Keys, update: bytes
) -> None:
    process, tester = rig(*QUICKEST)
    assert process.control(op="fault", kind="slow-flash", factor=2)["ok"]
    assert stage(tester, keys, update) == b"\x77"
    assert tester.pending >= 1
    assert tester.ask("31 01 02 02")[-1] == 0


def test_a_patch_is_rebuilt_into_the_other_slot(
    rig: Callable[..., Rig], keys: Keys, make_image: ImageMaker, update: bytes
) -> None:
    _process, tester = rig(*QUICKEST)
    old = make_image("1.0.0", counter=1, body=code("1.0.0", IMAGE_BYTES))
    assert stage(tester, keys, update, patch=bsdiff4.diff(old, update)) == b"\x77"
    assert tester.ask("31 01 02 02")[-1] == 0


def test_faults_of_the_control_port_act_and_are_cleared(rig: Callable[..., Rig]) -> None:
    process, tester = rig(*QUICKEST)
    assert process.control(op="fault", kind="nrc", service=0x22, nrc=0x22, count=1)["ok"]
    assert tester.ask("22 F1 89") == b"\x7f\x22\x22"
    assert tester.ask("22 F1 89")[0] == 0x62
    assert process.control(op="fault", kind="silent")["faults"] == [{"kind": "silent"}]
    assert tester.hears_nothing("3E 00")
    assert process.control(op="clear") == {"ok": True, "faults": []}
    assert tester.ask("3E 00") == b"\x7e\x00"
    assert "no fault of the kind" in process.control(op="fault", kind="flood")["error"]
    assert "no operation" in process.control(op="explode")["error"]
    assert process.control(op="power", state="off")["mode"] == "off"
    assert tester.hears_nothing("3E 00")
    assert process.control(op="power", state="on")["power"] == "on"
    process.await_mode("application")
    assert tester.ask("3E 00") == b"\x7e\x00"


@pytest.mark.parametrize("fault", ["boot-fail", "hang"])
def test_a_trial_that_never_comes_up_or_hangs_is_rolled_back(
    rig: Callable[..., Rig], keys: Keys, update: bytes, fault: str
) -> None:
    process, tester = rig(*QUICKEST, faults=(fault,), max_boot_attempts=2)
    assert stage(tester, keys, update) == b"\x77"
    assert tester.ask("31 01 02 02")[-1] == 0
    assert tester.ask("31 01 02 10")[-1] == 0
    assert tester.ask("11 01") == b"\x51\x01"
    while process.await_mode("application", timeout_s=15)["slots"][1]["state"] == "TRIAL":
        pass
    assert tester.ask("22 F1 89") == b"\x62\xf1\x891.0.0"
    codes = tester.ask("19 02 08")
    assert bytes.fromhex("160100") in codes and bytes.fromhex("160200") in codes
    events = [event.event for event in trace.read(process.config.trace or Path())]
    assert events.count("ecu.boot_failed") == 2 and events.count("ecu.rollback") == 1


def test_state_outlives_a_killed_process(rig: Callable[..., Rig], keys: Keys, update: bytes) -> None:
    process, tester = rig(*QUICKEST)
    assert stage(tester, keys, update) == b"\x77"
    assert tester.ask("31 01 02 02")[-1] == 0
    process.kill()
    process.start()
    assert process.control(op="state")["slots"][1] == {"state": "STAGED", "version": "2.0.0"}


def run_once(config_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ecu_firmware_sim", "--config", str(config_path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_an_absent_interface_a_used_port_and_a_wrong_key_are_one_clear_line(
    rig: Callable[..., Rig], tmp_path: Path, keys: Keys, old_image: bytes
) -> None:
    absent = {"interface": "socketcan", "channel": "vcan99"}
    folder = tmp_path / "second"
    folder.mkdir()
    path = folder / "ecu.json"

    path.write_text(make_config(folder, keys, old_image, bus=absent, transport="auto").model_dump_json())
    ended = run_once(path)
    assert ended.returncode == 1
    assert "setup/vcan.sh or setup/with-can" in ended.stderr and "Traceback" not in ended.stderr

    process, _ = rig(*QUICKEST)
    port = process.config.control_port
    used = make_config(folder, keys, old_image, bus=MULTICAST, transport="user", control_port=port)
    path.write_text(used.model_dump_json())
    ended = run_once(path)
    assert (
        ended.returncode == 1 and f"control port 127.0.0.1:{port}" in ended.stderr and "Traceback" not in ended.stderr
    )

    path.write_text(used.model_dump_json().replace('"vin"', '"wheels": 4, "vin"', 1))
    ended = run_once(path)
    assert ended.returncode == 1 and "wheels" in ended.stderr and "Traceback" not in ended.stderr
