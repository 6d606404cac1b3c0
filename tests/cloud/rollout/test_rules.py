"""The rules of roll-outs: how waves are cut, when the next one opens, what pauses a roll-out, and what an operator's resumption accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.cloud.errors import InvalidRequest
from otabench.cloud.rollout.messages import read_rollout, rollout_message
from otabench.cloud.rollout.rules import (
    PauseCause,
    Progress,
    Rollout,
    Wave,
    WaveCounts,
    assign_waves,
    decide,
    pause,
    resume,
)
from otabench.proto import ota_pb2

ALL = Wave(share_percent=100)
CANARY = Rollout(waves=(Wave(share_percent=10), ALL), success_percent=90, error_percent=20)
NOW = 1_000.0


def shares(*percents: float) -> list[Wave]:
    return [Wave(share_percent=each) for each in percents]


@pytest.mark.parametrize(
    ("waves", "total", "sizes"),
    [
        (shares(1, 10, 100), 1000, [10, 90, 900]),
        (shares(7, 100), 100, [7, 93]),
        # rounded up, so that the first wave is never empty
        (shares(1, 100), 5, [1, 4]),
        # a wave that would be empty is skipped
        (shares(1, 10, 100), 3, [1, 2]),
        (shares(1, 100), 1, [1]),
        ([Wave(vehicles=2), Wave(share_percent=50), ALL], 10, [2, 3, 5]),
        ([Wave(vehicles=50), ALL], 10, [10]),
    ],
)
def test_waves_are_cut_by_shares_and_numbers(waves: list[Wave], total: int, sizes: list[int]) -> None:
    assigned = assign_waves(waves, total)
    assert [assigned.count(number) for number in range(len(sizes))] == sizes
    assert assigned == sorted(assigned)


@given(
    percents=st.lists(st.floats(min_value=0.001, max_value=100), max_size=6),
    total=st.integers(min_value=0, max_value=5000),
)
def test_every_vehicle_is_in_one_wave_and_no_wave_is_empty(percents: list[float], total: int) -> None:
    assigned = assign_waves([*shares(*sorted(percents)), ALL], total)
    assert len(assigned) == total
    assert sorted(set(assigned)) == list(range(len(set(assigned))))


@pytest.mark.parametrize(
    ("first", "open_waves", "cause", "words"),
    [
        (WaveCounts(jobs=10, succeeded=8), 1, None, ""),
        (WaveCounts(jobs=10, succeeded=9), 2, None, ""),
        (WaveCounts(jobs=10, succeeded=8, failed=2), 1, PauseCause.TOO_FEW_SUCCESSES, "8 of 10 jobs SUCCEEDED"),
        (WaveCounts(jobs=10, failed=2), 1, None, ""),
        (WaveCounts(jobs=10, failed=3), 1, PauseCause.ERRORS, "3 of 10 jobs of wave 1 have failed: 20 % are allowed"),
        # those that were canceled or rejected do not count
        (WaveCounts(jobs=10, succeeded=1, left_out=9), 2, None, ""),
        (WaveCounts(jobs=10, failed=1, left_out=9), 1, PauseCause.ERRORS, "1 of 1 jobs"),
        (WaveCounts(jobs=10, left_out=10), 1, PauseCause.TOO_FEW_SUCCESSES, "0 of 0 jobs SUCCEEDED"),
    ],
)
def test_thresholds_open_the_next_wave_or_pause(
    first: WaveCounts, open_waves: int, cause: PauseCause | None, words: str
) -> None:
    counts = [first, WaveCounts(jobs=90, held=90)]
    decision = decide(CANARY, Progress(open_waves=1), counts, opened_last_minute=0, now=NOW)
    assert (decision.progress.open_waves, decision.progress.paused) == (open_waves, cause)
    assert words in decision.progress.reason
    assert decision.open_jobs == (90 if open_waves == 2 else 0)


def test_failures_of_an_earlier_wave_stop_a_later_one() -> None:
    counts = [WaveCounts(jobs=10, succeeded=7, failed=3), WaveCounts(jobs=90, held=40, succeeded=50)]
    decision = decide(CANARY, Progress(open_waves=2), counts, opened_last_minute=0, now=NOW)
    assert (decision.progress.paused, decision.open_jobs) == (PauseCause.ERRORS, 0)


@pytest.mark.parametrize(("opened", "allowed"), [(0, 5), (3, 2), (5, 0), (9, 0)])
def test_the_rate_limits_how_many_jobs_are_opened(opened: int, allowed: int) -> None:
    rollout = Rollout(max_per_minute=5)
    counts = [WaveCounts(jobs=20, held=20)]
    assert decide(rollout, Progress(), counts, opened_last_minute=opened, now=NOW).open_jobs == allowed


def test_nothing_is_opened_before_the_start_and_from_the_end_on() -> None:
    rollout = Rollout(start_at=NOW, end_at=NOW + 10)
    counts = [WaveCounts(jobs=3, held=3)]
    before = decide(rollout, Progress(), counts, opened_last_minute=0, now=NOW - 1)
    assert before.progress == Progress() and before.open_jobs == 0
    assert decide(rollout, Progress(), counts, opened_last_minute=0, now=NOW).open_jobs == 3
    after = decide(rollout, Progress(open_waves=1), counts, opened_last_minute=0, now=NOW + 10)
    assert (after.progress.paused, after.open_jobs) == (PauseCause.END_TIME, 0)


def test_a_resumption_accepts_what_has_paused_the_rollout_and_no_more() -> None:
    # given: too many failures
    first, second = WaveCounts(jobs=10, failed=3), WaveCounts(jobs=90, held=90)
    paused = decide(CANARY, Progress(open_waves=1), [first, second], opened_last_minute=0, now=NOW).progress
    resumed = resume(paused, [first, second])
    again = decide(CANARY, resumed, [first, second], opened_last_minute=0, now=NOW)
    assert again.progress.paused is None and again.progress.open_waves == 1
    # and: as many again pause it again (2 of the 7 others are more than 20 %)
    more = [replace(first, failed=5), second]
    assert decide(CANARY, resumed, more, opened_last_minute=0, now=NOW).progress.paused is PauseCause.ERRORS
    # and: the wave's end with too few successes does, too; resumed, the next wave opens
    ended = [replace(first, failed=3, succeeded=7), second]
    short = decide(CANARY, resumed, ended, opened_last_minute=0, now=NOW).progress
    assert short.paused is PauseCause.TOO_FEW_SUCCESSES
    assert decide(CANARY, resume(short, ended), ended, opened_last_minute=0, now=NOW).progress.open_waves == 2


def test_an_operators_pause_keeps_an_earlier_cause_and_forgives_nothing() -> None:
    counts = [WaveCounts(jobs=10, failed=2), WaveCounts(jobs=90, held=90)]
    paused = pause(Progress(open_waves=1), "lunch")
    assert (paused.paused, paused.reason) == (PauseCause.OPERATOR, "lunch")
    assert pause(Progress(paused=PauseCause.ERRORS, reason="3"), "lunch").paused is PauseCause.ERRORS
    assert resume(paused, counts) == Progress(open_waves=1)


@st.composite
def wave_counts(draw: st.DrawFn) -> WaveCounts:
    parts = [draw(st.integers(min_value=0, max_value=20)) for _ in range(5)]
    return WaveCounts(jobs=sum(parts), held=parts[0], succeeded=parts[1], failed=parts[2], left_out=parts[3])


@given(
    counts=st.lists(wave_counts(), min_size=1, max_size=4),
    open_waves=st.integers(min_value=0, max_value=4),
    opened=st.integers(min_value=0, max_value=30),
    rate=st.integers(min_value=0, max_value=30),
    success=st.floats(min_value=0, max_value=100),
    errors=st.none() | st.floats(min_value=0, max_value=100),
)
def test_no_decision_breaks_the_rules(
    counts: list[WaveCounts], open_waves: int, opened: int, rate: int, success: float, errors: float | None
) -> None:
    rollout = Rollout(success_percent=success, error_percent=errors, max_per_minute=rate)
    before = Progress(open_waves=min(open_waves, len(counts)))
    decision = decide(rollout, before, counts, opened_last_minute=opened, now=NOW)
    after = decision.progress
    # one wave at a time, and none is closed again
    assert before.open_waves <= after.open_waves <= min(before.open_waves + 1, len(counts))
    # only jobs of open waves, and never more than the rate
    assert 0 <= decision.open_jobs <= sum(wave.held for wave in counts[: after.open_waves])
    assert not rate or decision.open_jobs <= max(0, rate - opened)
    if after.paused:
        assert decision.open_jobs == 0 and after.open_waves == before.open_waves and after.reason
        # A pause stands until somebody resumes it.
        assert decide(rollout, after, counts, opened_last_minute=0, now=NOW).progress == after
    elif 0 < before.open_waves < after.open_waves:
        last = counts[before.open_waves - 1]
        assert last.succeeded * 100 >= success * last.counted > -1 and last.counted
    if errors is not None and not after.paused:
        assert all(wave.failed * 100 <= errors * wave.counted for wave in counts[: before.open_waves])


def wanted(**fields: object) -> ota_pb2.CreateCampaignRequest:
    return ota_pb2.CreateCampaignRequest(vins=[f"VIN{each}" for each in range(10)], rollout=ota_pb2.Rollout(**fields))  # type: ignore[arg-type]


def wave(**size: float) -> ota_pb2.Rollout.Wave:
    return ota_pb2.Rollout.Wave(**size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"waves": [wave()]}, "wave 1 needs a share above 0 %"),
        ({"waves": [wave(vehicles=0)]}, "wave 1 needs a share"),
        ({"waves": [wave(share_percent=101)]}, "wave 1 needs a share"),
        ({"waves": [wave(share_percent=float("nan"))]}, "wave 1 needs a share"),
        ({"waves": [wave(share_percent=50)], "success_percent": 9}, "the last wave must be 100 %"),
        ({"waves": [wave(share_percent=1)] * 101}, "101 waves are more than 100"),
        (
            {"waves": [wave(vehicles=6), wave(share_percent=50), wave(share_percent=100)], "success_percent": 9},
            "wave 2 ends at vehicle 5, before wave 1 (6)",
        ),
        ({"waves": [wave(share_percent=1), wave(share_percent=100)]}, "rollout.success_percent: state which share"),
        ({"success_percent": 101}, "rollout.success_percent 101"),
        ({"error_percent": -1}, "rollout.error_percent -1"),
        ({"error_percent": float("nan")}, "rollout.error_percent nan"),
        ({"max_per_minute": 2_000_000}, "rollout.max_per_minute 2000000"),
        ({"start_at": float("inf")}, "rollout.start_at inf"),
        ({"end_at": -5.0}, "rollout.end_at -5.0"),
        ({"start_at": 20.0, "end_at": 20.0}, "the end must be later than the start"),
    ],
)
def test_a_rollout_that_cannot_be_is_refused_with_its_field(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_rollout(wanted(**fields))
    assert words in str(refused.value)


def test_a_rollout_is_shown_as_it_was_asked_for() -> None:
    request = wanted(
        waves=[wave(vehicles=1), wave(share_percent=100)],
        success_percent=95,
        error_percent=0,
        max_per_minute=7,
        start_at=5.0,
        end_at=9.0,
    )
    rollout = read_rollout(request)
    assert rollout is not None and rollout_message(rollout) == request.rollout
    assert read_rollout(ota_pb2.CreateCampaignRequest()) is None
