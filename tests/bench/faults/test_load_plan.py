"""Which frames a load is made of, and that they take the share of the line that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.bus import frame_bits
from otabench.bench.errors import WrongUsage
from otabench.bench.faults import load_plan
from otabench.bench.faults.control_port import Fault
from otabench.bench.faults.load_plan import CyclicFrame, Line, Load
from otabench.bench.topology import bench_file

CLASSIC = Line(500_000)
SWITCHED = Line(500_000, 2_000_000, fd=True)
OWN = bench_file.load().identifiers_on("powertrain")


def bits_per_s(frames: tuple[CyclicFrame, ...], line: Line) -> float:
    """In nominal bit times a second, counted from the frames themselves."""
    total = 0.0
    for frame in frames:
        if line.fd:
            bits = frame_bits.fd_frame_bits(
                frame.can_id, frame.data, extended=frame.can_id > 0x7FF, brs=line.data_bitrate is not None
            )
            length = bits.nominal + bits.data * line.bitrate / (line.data_bitrate or line.bitrate)
        else:
            length = frame_bits.classic_frame_bits(frame.can_id, frame.data, extended=frame.can_id > 0x7FF)
        total += length / frame.period_s
    return total


def load_of(**parameters: Any) -> Load:
    return Load.parse(parameters)


@pytest.mark.parametrize("line", [CLASSIC, Line(125_000), Line(1_000_000), SWITCHED, Line(500_000, fd=True)], ids=str)
@pytest.mark.parametrize("share", [0.1, 5, 60, 100])
@pytest.mark.parametrize("priority", list(load_plan.PRIORITIES))
def test_frames_take_the_share_asked_for_and_no_identifier_twice(line: Line, share: float, priority: str) -> None:
    for seed in range(5):
        frames = load_plan.plan(load_of(share=share, priority=priority), line, avoid=OWN, seed=seed)
        assert bits_per_s(frames, line) == pytest.approx(line.bitrate * share / 100)
        assert len({frame.can_id for frame in frames}) == len(frames)


def test_traffic_looks_like_a_vehicle_s() -> None:
    frames = load_plan.plan(load_of(share=60), CLASSIC, avoid=OWN, seed=0)
    assert 60 < len(frames) < 250
    assert {len(frame.data) for frame in frames} == {2, 3, 4, 6, 7, 8}
    assert all(0.02 <= frame.period_s < 0.21 for frame in frames)
    assert len({round(frame.period_s, 6) for frame in frames}) == 4
    on_fd = load_plan.plan(load_of(share=60), SWITCHED, avoid=OWN, seed=0)
    assert {8, 64} < {len(frame.data) for frame in on_fd}


def test_identifiers_of_the_bench_itself_are_never_used() -> None:
    assert {0x7E0, 0x7E8, 0x7E1, 0x7E9, 0x7DF, 0x120, 0x220} == OWN
    frames = load_plan.plan(load_of(share=90, ids="0x120-0x123"), CLASSIC, avoid=OWN, seed=0)
    assert {frame.can_id for frame in frames} == {0x121, 0x122, 0x123}
    assert bits_per_s(frames, CLASSIC) == pytest.approx(450_000), "fewer identifiers come more often"
    with pytest.raises(WrongUsage, match="ids 0x120-0x120: the bench uses all of these itself"):
        load_plan.plan(load_of(share=1, ids="0x120"), CLASSIC, avoid=OWN, seed=0)


def test_priority_and_ids_choose_the_identifiers() -> None:
    def ids(**parameters: str) -> list[int]:
        return [frame.can_id for frame in load_plan.plan(load_of(share=40, **parameters), CLASSIC, avoid=OWN, seed=1)]

    assert all(0x400 <= can_id <= 0x5FF for can_id in ids())
    assert all(can_id <= 0x1FF for can_id in ids(priority="high"))
    assert all(can_id >> 18 > 0x7EF for can_id in ids(priority="lowest")), "behind diagnostics in arbitration"
    assert set(ids(ids="0x500-0x501")) == {0x500, 0x501}


def test_a_seed_gives_the_same_frames_again() -> None:
    def frames(seed: int) -> tuple[CyclicFrame, ...]:
        return load_plan.plan(load_of(share=60), CLASSIC, avoid=OWN, seed=seed)

    assert frames(7) == frames(7) != frames(8)


def test_no_share_is_no_frame() -> None:
    assert load_plan.plan(load_of(share=0), CLASSIC, avoid=OWN, seed=0) == ()


@pytest.mark.parametrize(
    "text", ["bus:load:60%", "bus:load:share=60", "bus:load:share=60%", "bus:load:60", "bus:load:60.0"]
)
def test_a_share_is_read_in_every_way_it_is_written(text: str) -> None:
    assert Load.parse(Fault.parse(text).parameters) == Load(60.0, 0x400, 0x5FF)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"share": "101%"}, "share '101%': expected 0 to 100 per cent of the line, such as 60%"),
        ({"share": "-5%"}, "share '-5%'"),
        ({"share": "abc"}, "share 'abc'"),
        ({"share": "nan"}, "share 'nan'"),
        ({"share": 1e9}, "share 1000000000"),
        ({"share": True}, "share True"),
        ({}, "load needs a share: expected 0 to 100 per cent"),
        ({"share": 5, "every": 3}, "there is no parameter 'every' of load; known: share, priority, ids, seed"),
        ({"share": 5, "prio": "low"}, "there is no parameter 'prio' of load; did you mean 'priority'"),
        ({"share": 5, "priority": "middle"}, "priority 'middle': expected high, low, lowest"),
        ({"share": 5, "ids": "5-4"}, "ids '5-4': expected FIRST-LAST"),
        ({"share": 5, "ids": "0x20000000"}, "ids '0x20000000'"),
        ({"share": 5, "ids": "low"}, "ids 'low'"),
        ({"share": 5, "ids": "1-2", "priority": "low"}, "priority and ids are both given"),
    ],
)
def test_a_load_that_means_nothing_is_refused(parameters: dict[str, Any], expected: str) -> None:
    with pytest.raises(WrongUsage) as refusal:
        Load.parse(parameters)
    assert expected in str(refusal.value)


def test_timers_that_are_late_are_made_up_for_but_not_a_machine_that_stood_still() -> None:
    late = [0.0008] * 90 + [0.08] * 6 + [-0.02] * 4
    assert load_plan.lateness_s(late) == pytest.approx(0.0008)
    assert load_plan.lateness_s([0.003] * 100) == 0.0, "a line that is full is not to be filled more"
    assert load_plan.lateness_s([]) == load_plan.lateness_s([-0.01] * 20) == 0.0
    frame = CyclicFrame(0x400, bytes(8), 0.00025, 0.02)
    assert load_plan.hurried_period_s(frame, 0.001) == pytest.approx(0.019)
    assert load_plan.hurried_period_s(frame, 0.05) == pytest.approx(0.01)
