"""Which frames a fault hits, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.errors import WrongUsage
from otabench.bench.faults.frame_faults import Direction, FrameFault, FrameFaults, Verdict

DATA = bytes(8)


def hits(number: int, fault: dict[str, Any], *, direction: Direction = Direction.RX, can_id: int = 0x7E0) -> list[int]:
    """Return numbers of the frames, from 1, that do not pass as they are."""
    faults = FrameFaults(seed=1)
    faults.set(FrameFault.parse(fault))
    passed = Verdict(DATA)
    return [frame for frame in range(1, number + 1) if faults.judge(direction, can_id, DATA) != passed]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "drop"}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"kind": "drop", "every": 3}, [3, 6, 9]),
        ({"kind": "drop", "every": 3, "first": 1}, [1, 4, 7]),
        ({"kind": "drop", "every": 3, "count": 2}, [3, 6]),
        ({"kind": "drop", "first": 5}, [5]),
        ({"kind": "drop", "every": "0x4"}, [4, 8]),
        ({"kind": "drop", "every": 3, "direction": "tx"}, []),
        ({"kind": "drop", "every": 3, "ids": [0x7E1]}, []),
        ({"kind": "drop", "every": 3, "ids": "0x7E0+0x7E8"}, [3, 6, 9]),
        ({"kind": "drop", "probability": 0.0}, []),
    ],
)
def test_a_fault_hits_the_frames_it_says(fault: dict[str, Any], expected: list[int]) -> None:
    assert hits(9, fault) == expected


def test_only_frames_that_count_are_counted() -> None:
    faults = FrameFaults()
    faults.set(FrameFault.parse({"kind": "drop", "every": 2, "direction": "tx"}))
    assert faults.judge(Direction.TX, 1, DATA).copies == 1
    assert faults.judge(Direction.RX, 1, DATA).copies == 1
    assert faults.judge(Direction.TX, 1, DATA).copies == 0
    assert faults.frames == {Direction.RX: 1, Direction.TX: 2} and faults.acted == 1


def test_each_kind_does_what_it_says() -> None:
    def verdict(**fault: Any) -> Verdict:
        faults = FrameFaults()
        faults.set(FrameFault.parse(fault))
        return faults.judge(Direction.RX, 1, DATA)

    assert verdict(kind="drop") == Verdict(DATA, copies=0)
    assert verdict(kind="duplicate") == Verdict(DATA, copies=2)
    assert verdict(kind="delay", ms=20) == Verdict(DATA, delay_s=0.02)
    corrupted = verdict(kind="corrupt")
    assert corrupted.copies == 1 and len(corrupted.data) == 8
    assert int.from_bytes(corrupted.data).bit_count() == 1


def test_faults_of_several_kinds_add_up_and_one_of_a_kind_replaces_the_other() -> None:
    faults = FrameFaults()
    faults.set(FrameFault.parse({"kind": "duplicate"}))
    faults.set(FrameFault.parse({"kind": "delay", "ms": 5}))
    faults.set(FrameFault.parse({"kind": "delay", "ms": 7}))
    assert faults.judge(Direction.RX, 1, DATA) == Verdict(DATA, copies=2, delay_s=0.007)
    faults.clear()
    assert faults.judge(Direction.RX, 1, DATA) == Verdict(DATA)


def test_the_same_seed_does_the_same() -> None:
    def run(seed: int) -> list[bytes]:
        faults = FrameFaults(seed)
        faults.set(FrameFault.parse({"kind": "corrupt", "probability": 0.5}))
        return [faults.judge(Direction.RX, 1, DATA).data for _ in range(50)]

    assert run(7) == run(7) != run(8)
    assert 10 < sum(data != DATA for data in run(7)) < 40


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": "melt"}, "there is no frame fault 'melt'; known: drop, duplicate, corrupt, delay"),
        ({"kind": "delays"}, "there is no frame fault 'delays'; did you mean 'delay'"),
        ({}, "a frame fault needs a kind: drop, duplicate"),
        ({"kind": "drop", "every": -1}, "every -1"),
        ({"kind": "drop", "first": 0}, "first 0"),
        ({"kind": "drop", "count": "many"}, "count 'many'"),
        ({"kind": "drop", "direction": "up"}, r"expected rx \(towards the ECU\) or tx"),
        ({"kind": "delay", "ms": 1e9}, "ms"),
        ({"kind": "drop", "probability": 2}, "probability 2"),
        ({"kind": "drop", "colour": 1}, "there is no parameter 'colour' of drop; known: every, first"),
        ({"kind": "drop", "evry": 9}, "there is no parameter 'evry' of drop; did you mean 'every'"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(fault: dict[str, Any], text: str) -> None:
    with pytest.raises(WrongUsage, match=text):
        FrameFault.parse(fault)
