"""A sample of the sweeps over whole updates on a real bus; `otabench perf message-cut` and `otabench perf frames` run all points."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.perf import frames, message_cut
from otabench.bench.perf.message_cut import Point, Victim
from otabench.bench.perf.rig import OneEcuRig, RigOptions, update
from otabench.bench.perf.tap import Moment
from otabench.bench.perf.verdict import End, Runs
from otabench.proto import trace
from tests.waiting import eventually

pytestmark = pytest.mark.vcan


def first(messages: list[str], wanted: str) -> int:
    return messages.index(wanted) + 1


def test_an_ecu_that_is_power_cycled_or_a_gateway_that_is_killed_is_updated_all_the_same() -> None:
    """In pre-programming, in the transfer, before activation, at the reset, and at confirm."""

    def choose(messages: list[str]) -> list[Point]:
        confirm = len(messages) - list(reversed(messages)).index("31 01")
        routines = [number for number, message in enumerate(messages, 1) if message == "31 01"]
        return [
            Point(Victim.ECU, first(messages, "85 02"), Moment.BEFORE),
            Point(Victim.ECU, routines[-3], Moment.BEFORE),
            Point(Victim.ECU, routines[-2], Moment.BEFORE),
            Point(Victim.ECU, first(messages, "36 02"), Moment.AFTER),
            Point(Victim.ECU, first(messages, "11 01"), Moment.BEFORE),
            Point(Victim.ECU, confirm, Moment.AFTER),
            Point(Victim.GATEWAY, first(messages, "36 02"), Moment.AFTER),
            Point(Victim.GATEWAY, first(messages, "11 01"), Moment.BEFORE),
            Point(Victim.GATEWAY, first(messages, "11 01"), Moment.AFTER),
            Point(Victim.GATEWAY, confirm, Moment.BEFORE),
            Point(Victim.GATEWAY, confirm, Moment.AFTER),
        ]

    runs = message_cut.sweep(choose)
    _all_right(runs, number=11)
    assert [run.point for run in runs.runs if run.end is not End.UPDATED] == []


def test_an_ecu_that_is_power_cycled_while_it_soaks_is_reverted() -> None:
    def choose(messages: list[str]) -> list[Point]:
        before_confirm = len(messages) - list(reversed(messages)).index("10 03")
        return [Point(Victim.ECU, before_confirm - 3, Moment.BEFORE)]  # in between: it runs, twice

    runs = message_cut.sweep(choose)
    _all_right(runs, number=1)
    assert runs.runs[0].end is End.UNCHANGED and "soak: " in runs.runs[0].reason


def test_a_frame_that_is_lost_doubled_or_corrupted_ends_updated_or_unchanged() -> None:
    runs = frames.sweep(lambda number: frames.points_of(number, step=211), seed=3)
    _all_right(runs, number=len(runs.runs))
    assert len(runs.runs) >= 4


def _all_right(runs: Runs, *, number: int) -> None:
    assert runs.wrong == []
    assert len(runs.runs) == number
    assert runs.longest_s < 30


def test_an_image_that_crashes_once_it_is_confirmed_comes_up_again(tmp_path: Path) -> None:
    with OneEcuRig(tmp_path, RigOptions(body_bytes=256)) as rig:
        rig.control.fault("crash-after-confirm", after_s=0.1, count=1)
        image, vehicle = rig.next_image(), rig.vehicle()
        update(vehicle, image)
        vehicle.close()
        eventually(lambda: "ecu.crash" in _events(tmp_path), "it crashes")
        assert rig.running() == (image.version, "CONFIRMED")
    after = _events(tmp_path)[_events(tmp_path).index("ecu.crash") :]
    assert after.count("ecu.boot") == 1


def _events(folder: Path) -> list[str]:
    return [event.event for event in trace.read(folder / "trace.jsonl")]
