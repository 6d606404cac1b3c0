"""The noise that a power cut with garbage leaves: random, reported, and repeatable by its seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.ecu_firmware_sim.faults import parse
from otabench.ecu_firmware_sim.runtime.lifecycle import Mode
from otabench.proto import trace
from otabench.proto.process_config import EcuTiming
from tests.ecu_firmware_sim.factory import Keys
from tests.ecu_firmware_sim.line import Line, Rig
from tests.waiting import eventually


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, old_image: bytes) -> Iterator[Rig]:
    timing = EcuTiming(boot_s=0.0)
    rig = Rig(Line("user", "normal", False), tmp_path, keys, old_image, timing=timing, trace=tmp_path / "trace.jsonl")
    yield rig
    rig.close()


def cut(rig: Rig, **seed: int) -> tuple[bytes, int]:
    """Return what a cut with garbage leaves of one page of zeros, and the seed that the control port reports."""
    rig.renew()
    rig.unlock()
    rig.erase()
    assert rig.request_download(0x400).startswith("74")
    fault = {"kind": "power-cut", "flash_operation": 2, "mode": "garbage", "off_s": 30, **seed}
    rig.ecu.call(lambda: rig.ecu.fault_effects.set(parse(fault)))
    (shown,) = rig.ecu.call(rig.ecu.faults.shown)
    rig.send(b"\x36\x01" + bytes(0x400))
    eventually(lambda: rig.ecu.mode is Mode.OFF, "the power is cut", interval_s=0.005)
    page = rig.ecu.layout.slot_offset(1) + 0x100
    return bytes(rig.ecu.flash.memory[page : page + 0x100]), int(shown["seed"])


def test_a_cut_with_garbage_leaves_what_its_seed_says(rig: Rig, tmp_path: Path) -> None:
    # given: a cut whose seed is drawn
    first, seed = cut(rig)
    assert len(set(first)) > 50, "neither all erased nor all programmed"

    # then: the same seed leaves the same, another one something else, and the next draw is another one
    assert cut(rig, seed=seed) == (first, seed)
    assert cut(rig, seed=seed ^ 1)[0] != first
    assert cut(rig)[1] != seed

    # and: the trace tells it, when it is set and when power goes
    events = list(trace.read(tmp_path / "trace.jsonl"))
    assert [event.data["seed"] for event in events if event.event == "ecu.fault"][:2] == [seed, seed]
    lost = [event.data["reason"] for event in events if event.event == "ecu.power" and event.data["state"] == "off"]
    assert f"(program at 0x{rig.ecu.layout.slot_offset(1) + 0x100:X}), seed {seed}" in lost[0], lost
