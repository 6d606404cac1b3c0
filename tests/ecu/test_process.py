"""The real process on a real bus: the whole update in both transports, power and faults by the control port, ends and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
