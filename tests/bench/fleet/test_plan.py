"""The plan of a fleet bench: faults and waves as they are typed, and who misbehaves."""

from __future__ import annotations

from collections import Counter

import pytest

from otabench.bench.errors import WrongUsage
from otabench.bench.fleet.plan import Behaviour, make_plan, parse_faults, parse_portion, parse_waves


@pytest.mark.parametrize(
    ("text", "vehicles", "expected"),
    [("2%", 1000, 20), ("1%", 20, 1), ("7%", 100, 7), ("0.5%", 1000, 5), ("100%", 3, 3), ("0%", 50, 0), ("3", 2, 2)],
)
def test_a_share_is_rounded_up_and_never_more_than_all(text: str, vehicles: int, expected: int) -> None:
    assert parse_portion(text, option="--faults").of(vehicles) == expected


@pytest.mark.parametrize("text", ["", "%", "two", "-1%", "1e2%", "1/3", "101%", "1.5", "5%%", "1_0", "nan", "1.2.3"])
def test_what_is_no_portion_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage, match="--waves"):
        parse_portion(text, option="--waves")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fial=2%", "did you mean 'fail'"),
        ("plain=2%", "there is no fault 'plain'"),
        ("fail", "write fail=1%"),
        ("fail=1%,fail=2%", "fail is named twice"),
        ("fail=1%,,vanish=1%", "there is no fault ''"),
    ],
)
def test_wrong_faults_are_refused_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(WrongUsage, match=problem):
        parse_faults(text)


def test_no_faults_are_an_empty_text() -> None:
    assert parse_faults("") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10%,1%,100%", "have to rise"),
        ("0%,100%", "have to rise"),
        ("1%,10%", "last wave has to be 100%"),
        ("5,100%", "every wave is a share"),
    ],
)
def test_waves_that_do_not_reach_all_vehicles_in_turn_are_refused(text: str, problem: str) -> None:
    with pytest.raises(WrongUsage, match=problem):
        parse_waves(text)


@pytest.mark.parametrize("vehicles", [1, 2, 7, 20, 1000])
def test_every_vehicle_is_in_one_wave(vehicles: int) -> None:
    plan = make_plan(vehicles, waves=parse_waves("1%,10%,100%"), faults={}, seed=0)

    assert [vin for wave in plan.waves for vin in wave] == list(plan.vins)
    assert len(set(plan.vins)) == vehicles
    assert all(plan.waves)


def test_the_seed_decides_who_misbehaves() -> None:
    faults = parse_faults("fail=2%,vanish=1%,duplicate=1%,giant=1")
    plan = make_plan(1000, waves=parse_waves("100%"), faults=faults, seed=1)

    assert Counter(plan.behaviours.values()) == {
        Behaviour.FAIL: 20,
        Behaviour.VANISH: 10,
        Behaviour.DUPLICATE: 10,
        Behaviour.GIANT: 1,
        Behaviour.PLAIN: 959,
    }
    assert make_plan(1000, waves=parse_waves("100%"), faults=faults, seed=1) == plan
    assert make_plan(1000, waves=parse_waves("100%"), faults=faults, seed=2).behaviours != plan.behaviours


def test_more_faults_than_vehicles_are_refused() -> None:
    with pytest.raises(WrongUsage, match="11 vehicles would misbehave, and there are 10"):
        make_plan(10, waves=parse_waves("100%"), faults=parse_faults("fail=100%,giant=1"), seed=0)
