"""The real process on a real bus: the whole update in both transports, power and faults by the control port, ends and errors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bsdiff4
import pytest

from otabench.ecu_firmware_sim.__main__ import main
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SLOT_WINDOW
from otabench.proto import image_format, trace
from otabench.proto.process_config import EcuTiming, IsoTpConfig
from tests.ecu_firmware_sim.factory import ImageMaker, Keys, Manifest, code, patch_facts
from tests.ecu_firmware_sim.process import REQUEST_ID, EcuProcess, KernelWire, Tester, UserWire, make_config
from tests.waiting import PATIENCE_S

VCAN: dict[str, Any] = {"interface": "socketcan", "channel": "vcan0"}
MULTICAST: dict[str, Any] = {
    "interface": "udp_multicast",
    "channel": "239.74.163.2",
    "port": 21_000 + os.getpid() % 10_000,
}
"""Of this process: several run tests of this file at the same time, and would hear each other's ECUs."""

Rig = tuple[EcuProcess, Tester]
IMAGE_BYTES = 12_000


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, make_image: ImageMaker) -> Iterator[Callable[..., Rig]]:
    """Start an ECU that runs 1.0.0, and a tester on its bus."""
    opened: list[Any] = []

    def start(transport: str, bus: dict[str, Any], **more: Any) -> Rig:
        old = make_image("1.0.0", counter=1, body=code("1.0.0", IMAGE_BYTES))
        process = EcuProcess(make_config(tmp_path, keys, old, bus=bus, transport=transport, **more), tmp_path)
        process.start()
        opened.append(process.kill)
        fd = bool(bus.get("fd"))
        wire = KernelWire(str(bus["channel"]), fd=fd) if transport == "kernel" else UserWire(bus)
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

FIXED = IsoTpConfig(addressing="normal_fixed", target_address=0x10, source_address=0xF1)
BUSES = [
    pytest.param("kernel", VCAN, marks=pytest.mark.vcan, id="kernel-vcan"),
    pytest.param("kernel", VCAN | {"fd": True}, marks=pytest.mark.vcan, id="kernel-vcan-fd"),
    pytest.param("user", VCAN, marks=pytest.mark.vcan, id="user-vcan"),
    pytest.param("user", MULTICAST, id="user-multicast"),
]


def stage(tester: Tester, keys: Keys, image: bytes, *, patch: bytes | None = None, base: bytes = b"") -> bytes:
    tester.unlock()
    facts = None if patch is None else patch_facts(base, patch)
    manifest = Manifest(image, patch=facts).signed(keys.targets)
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
    assert process.await_mode("application")["slots"][1] == {
        "state": "TRIAL",
        "version": "2.0.0",
        "digest": digest_in(update),
    }
    assert tester.ask("22 F1 89") == b"\x62\xf1\x892.0.0"
    tester.unlock("10 03")
    assert tester.ask("31 01 02 11") == b"\x71\x01\x02\x11\x00"
    slots = process.control(op="state")["slots"]
    assert [(slot["state"], slot["version"]) for slot in slots] == [("CONFIRMED", "1.0.0"), ("CONFIRMED", "2.0.0")]
    assert slots[1]["digest"] == digest_in(update) != slots[0]["digest"] != ""
    assert process.stop() == 0
    events = [event for event in trace.read(process.config.trace or Path()) if event.event == "ecu.slot"]
    assert [event.data["to"] for event in events] == ["INVALID", "EMPTY", "INVALID", "STAGED", "TRIAL", "CONFIRMED"]
    assert {event.job_id for event in events} == {"job-1"}


def digest_in(image: bytes) -> str:
    return (image_format.parse(image).tlv(image_format.TLV_SHA256) or b"").hex()


@pytest.mark.parametrize(
    "fault", [{"kind": "power-cycle-at", "bytes": 6_000}, {"kind": "power-cut", "flash_operation": 310}]
)
def test_power_lost_in_a_transfer_leaves_the_slot_invalid_and_the_confirmed_one_running(
    rig: Callable[..., Rig], keys: Keys, update: bytes, fault: dict[str, Any]
) -> None:
    process, tester = rig(*QUICKEST)
    assert process.control(op="fault", off_s=0.1, **fault)["ok"]
    with pytest.raises((AssertionError, OSError)):
        stage(Tester(Quick(tester)), keys, update)
    state = process.await_mode("application")
    assert [slot["state"] for slot in state["slots"]] == ["CONFIRMED", "INVALID"]
    assert state["active_slot"] == 0 and state["faults"] == []
    assert stage(tester, keys, update) == b"\x77"


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
    assert stage(tester, keys, update, patch=bsdiff4.diff(old, update), base=old) == b"\x77"
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
    assert process.control(op="fault", kind="bit-rot", slot=0, offset=0x300)["ok"]
    assert process.control(op="power", state="cycle")["ok"]
    assert process.await_mode("bootloader")["slots"][0]["state"] == "INVALID"
    assert tester.ask("22 F1 86") == b"\x62\xf1\x86\x02"


@pytest.mark.vcan
@pytest.mark.parametrize("transport", ["kernel", "user"])
def test_a_tester_that_stops_in_the_middle_or_gives_no_flow_control_does_not_make_the_ecu_deaf(
    rig: Callable[..., Rig], transport: str
) -> None:
    _process, tester = rig(transport, VCAN)
    tester.close()
    rude = KernelWire("vcan0", listen=False)
    rude.frame(REQUEST_ID, bytes.fromhex("10 14 22 F1 89 F1 89 F1"))  # and no consecutive frame
    rude.frame(REQUEST_ID, bytes.fromhex("03 22 F1 A1"))  # answered by a first frame, for which no flow control comes
    rude.close()
    time.sleep(1.2)  # N_Cr and N_Bs of the ECU
    polite = KernelWire("vcan0")
    try:
        assert Tester(polite).ask("22 F1 89") == b"\x62\xf1\x891.0.0"
    finally:
        polite.close()


IMPATIENT = EcuTiming(boot_s=0.05, trial_confirm_timeout_s=0.3)


@pytest.mark.parametrize(
    ("more", "failed_boots"),
    [
        pytest.param({"faults": ("boot-fail",), "max_boot_attempts": 2}, 2, id="boot-fail"),
        pytest.param({"faults": ("hang",), "max_boot_attempts": 1}, 1, id="hang"),
        pytest.param({"timing": IMPATIENT}, 1, id="not-confirmed-in-time"),
        pytest.param({"faults": ("crash",), "max_boot_attempts": 2}, 2, id="crash"),
    ],
)
def test_a_trial_that_fails_is_rolled_back_by_the_watchdog(
    rig: Callable[..., Rig], keys: Keys, update: bytes, more: dict[str, Any], failed_boots: int
) -> None:
    process, tester = rig(*QUICKEST, **more)
    assert stage(tester, keys, update) == b"\x77"
    assert tester.ask("31 01 02 02")[-1] == 0
    assert tester.ask("31 01 02 10")[-1] == 0
    assert tester.ask("11 01") == b"\x51\x01"
    while process.await_mode("application")["slots"][1]["state"] == "TRIAL":
        pass
    assert tester.ask("22 F1 89") == b"\x62\xf1\x891.0.0"
    codes = tester.ask("19 02 08")
    assert bytes.fromhex("160100") in codes and bytes.fromhex("160200") in codes
    events = [event.event for event in trace.read(process.config.trace or Path())]
    assert events.count("ecu.boot_failed") == failed_boots and events.count("ecu.rollback") == 1


def test_a_trial_that_crashes_once_comes_up_again_and_answers(
    rig: Callable[..., Rig], keys: Keys, update: bytes
) -> None:
    process, tester = rig(*QUICKEST)
    assert process.control(op="fault", kind="crash", after_s=0.5, count=1)["faults"][0]["count"] == 1
    assert stage(tester, keys, update) == b"\x77"
    for request in ("31 01 02 02", "31 01 02 10", "11 01"):
        tester.ask(request)
    deadline = time.monotonic() + PATIENCE_S
    while process.await_mode("application")["active_slot"] != 1:
        assert time.monotonic() < deadline
    assert tester.ask("22 F1 89") == b"\x62\xf1\x892.0.0", "it answers before it crashes"
    while process.control(op="state")["boots_left"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.await_mode("application")
    assert tester.ask("22 F1 89") == b"\x62\xf1\x892.0.0", "and after"
    assert bytes.fromhex("160100") in tester.ask("19 02 08")
    tester.unlock()
    assert tester.ask("31 01 02 11")[-1] == 0


def test_state_outlives_a_killed_process(rig: Callable[..., Rig], keys: Keys, update: bytes) -> None:
    process, tester = rig(*QUICKEST)
    assert stage(tester, keys, update) == b"\x77"
    assert tester.ask("31 01 02 02")[-1] == 0
    process.kill()
    process.start()
    slot = process.control(op="state")["slots"][1]
    assert (slot["state"], slot["version"], slot["digest"]) == ("STAGED", "2.0.0", digest_in(update))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"bus": {"interface": "socketcan", "channel": "vcan99"}}, "setup/vcan.sh or setup/with-can"),
        ({"bus": {"interface": "carrier-pigeon", "channel": "1"}}, "carrier-pigeon"),
        ({"factory_image": Path("/nowhere.bin")}, "factory_image /nowhere.bin"),
        ({"director_root": Path(__file__)}, "not TUF Root metadata"),
        ({"image_public_key": Path(__file__)}, "not a PEM public key"),
        ({"slot_size_bytes": 1000}, "multiple of the 4096-byte sector"),
        ({"hardware_id": "adas-soc-b"}, "factory_image: the image's class id is not that of adas-soc-b"),
        ({"faults": ("flood",)}, "no fault of the kind 'flood'"),
        ({"security_algorithm": "nowhere:key"}, "security_algorithm: security algorithm nowhere:key: module nowhere"),
        ({"isotp": FIXED}, "request_id 0x7E0: with isotp.addressing normal_fixed"),
    ],
)
def test_a_wrong_world_is_one_clear_line_and_exit_status_1(
    tmp_path: Path, keys: Keys, old_image: bytes, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], line: str
) -> None:
    config = make_config(tmp_path, keys, old_image, **{"bus": MULTICAST, "transport": "auto", **wrong})
    assert ends_with_one_line(config.model_dump_json(), tmp_path, capsys, line)


def test_a_used_control_port_and_an_unknown_key_are_one_clear_line(
    tmp_path: Path, keys: Keys, old_image: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = make_config(tmp_path, keys, old_image, bus=MULTICAST, transport="user", control_port=port)
        text = config.model_dump_json()
        assert ends_with_one_line(text, tmp_path, capsys, f"control port 127.0.0.1:{port}")
    assert ends_with_one_line(text.replace('"vin"', '"wheels": 4, "vin"', 1), tmp_path, capsys, "wheels")
    assert ends_with_one_line("{", tmp_path, capsys, "ecu.json")


def ends_with_one_line(config: str, folder: Path, capsys: pytest.CaptureFixture[str], line: str) -> bool:
    path = folder / "ecu.json"
    path.write_text(config)
    capsys.readouterr()
    assert main(["--config", str(path)]) == 1
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("ecu_firmware_sim: ")]
    return len(said) == 1 and line in said[0]
