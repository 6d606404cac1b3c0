"""The progress of the whole job never falls, whatever the ECUs go through, and comes to 100 only with success."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest

from otabench.bench.gateway.jobs.overall_progress import (
    ExpectedTimes,
    OverallProgress,
    remaining_s,
    whole_percent,
)
from otabench.bench.gateway.vehicle import EcuProgress, Phase
from otabench.proto.job_states import JobState

S, P = JobState, Phase
IMAGE, PATCH = 262_144, 20_000
Moment = tuple[JobState, float, dict[str, EcuProgress]]
"""State, downloaded share, and each ECU's last progress."""


def names(count: int) -> list[str]:
    return [f"ecu{number}" for number in range(count)]


def times(count: int, *, buses: int = 1) -> ExpectedTimes:
    transfers_s: dict[str, dict[str, float]] = {}
    for number, ecu in enumerate(names(count)):
        transfers_s.setdefault(f"bus{number % buses}", {})[ecu] = 9.0 + number
    return ExpectedTimes(download_s=1.0, transfers_s=transfers_s, boot_s=3.5, confirm_s=0.25)


class Course:
    """Plays a job's course: the moments at which something is shown."""

    def __init__(self, count: int) -> None:
        self.ecus: dict[str, EcuProgress] = {}
        self.names = names(count)

    def report(self, state: JobState, ecu: str, phase: Phase, done: int = 0, total: int = 0) -> Moment:
        self.ecus[ecu] = EcuProgress(ecu, phase, done, total)
        return state, 1.0, dict(self.ecus)

    def download(self) -> Iterator[Moment]:
        yield S.CONFIRMING, 0.0, {}
        yield S.WAITING_FOR_APPROVAL, 0.0, {}
        for part in range(11):
            yield S.DOWNLOADING, part / 10, {}

    def program(self, ecu: str, *, size: int = IMAGE, lost_at: float | None = None) -> Iterator[Moment]:
        """One attempt. Erasing and checking count the image's bytes, the transfer those of the file, as the ECUs' reports do."""
        yield self.report(S.INSTALLING, ecu, P.ERASING, 0, IMAGE)
        for part in range(21):
            if lost_at is not None and part / 20 >= lost_at:
                yield self.report(S.INSTALLING, ecu, P.WAITING)
                return
            yield self.report(S.INSTALLING, ecu, P.TRANSFERRING, size * part // 20, size)
        yield self.report(S.INSTALLING, ecu, P.CHECKING, IMAGE, IMAGE)
        yield self.report(S.INSTALLING, ecu, P.STAGED, size, size)

    def wait(self) -> Iterator[Moment]:
        for ecu in self.names:
            yield self.report(S.INSTALLING, ecu, P.WAITING, 0, IMAGE)

    def each(self, state: JobState, phase: Phase) -> Iterator[Moment]:
        for ecu in self.names:
            yield self.report(state, ecu, phase)

    def stage(self) -> Iterator[Moment]:
        yield from self.download()
        yield from self.wait()
        for ecu in self.names:
            yield from self.program(ecu)

    def put_into_use(self) -> Iterator[Moment]:
        yield from self.each(S.ACTIVATING, P.ACTIVATING)
        yield S.VERIFYING, 1.0, dict(self.ecus)
        yield from self.each(S.VERIFYING, P.TRIAL)
        yield from self.each(S.VERIFYING, P.SOAKING)

    def confirm(self) -> Iterator[Moment]:
        yield from self.each(S.VERIFYING, P.CONFIRMED)
        yield S.SUCCEEDED, 1.0, dict(self.ecus)


def straight(course: Course) -> Iterator[Moment]:
    yield from course.stage()
    yield from course.put_into_use()
    yield from course.confirm()


def retried(course: Course) -> Iterator[Moment]:
    """The last ECU falls silent twice; a patch of the first is refused, so the full image follows."""
    yield from course.download()
    yield from course.wait()
    yield from course.program(course.names[0], size=PATCH, lost_at=0.9)
    yield from course.program(course.names[0])
    for ecu in course.names[1:]:
        yield from course.program(ecu, lost_at=0.9)
        yield from course.program(ecu, lost_at=0.3)
        yield from course.program(ecu)
    yield from course.put_into_use()
    yield from course.confirm()


def rolled_back(course: Course) -> Iterator[Moment]:
    yield from course.stage()
    yield from course.put_into_use()
    yield from course.each(S.VERIFYING, P.REVERTED)
    yield S.ROLLED_BACK, 1.0, dict(course.ecus)


def failed(course: Course) -> Iterator[Moment]:
    yield from course.download()
    yield from course.wait()
    yield from course.program(course.names[0], lost_at=0.5)
    yield course.report(S.INSTALLING, course.names[0], P.FAILED)
    yield S.FAILED, 1.0, dict(course.ecus)


def percents(times_: ExpectedTimes, moments: Iterator[Moment], overall: OverallProgress) -> list[int]:
    return [whole_percent(overall.advance(left(times_, moment))) for moment in moments]


def left(times_: ExpectedTimes, moment: Moment) -> float:
    state, downloaded, ecus = moment
    return remaining_s(times_, state, downloaded_share=downloaded, ecus=ecus)


def never_falls(shown: list[int]) -> bool:
    return all(before <= after for before, after in pairwise(shown))


@pytest.mark.parametrize("buses", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("course", [straight, retried, rolled_back, failed])
def test_progress_never_falls(course: object, count: int, buses: int) -> None:
    assert callable(course)
    shown = percents(times(count, buses=buses), course(Course(count)), OverallProgress())
    assert never_falls(shown), shown
    assert shown[0] == 0
    if course in (straight, retried):
        assert shown[-1] == 100
        assert 95 <= max(shown[:-1]) <= 99
    else:
        assert max(shown) <= 99


@pytest.mark.parametrize("count", [1, 2, 8])
def test_progress_is_the_share_of_the_expected_time(count: int) -> None:
    times_ = times(count)
    whole_s = times_.download_s + times_.installing_s
    for moment, share in zip(
        straight(Course(count)), percents(times_, straight(Course(count)), OverallProgress()), strict=True
    ):
        assert share == pytest.approx(100 * (1 - left(times_, moment) / whole_s), abs=1.01)


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("killed_after", [5, 15, 25, 38])
def test_a_restarted_gateway_goes_on_from_what_it_showed(count: int, killed_after: int) -> None:
    times_, course = times(count), Course(count)
    moments = straight(course)
    first = percents(times_, iter([next(moments) for _ in range(killed_after)]), OverallProgress())
    # the next process has no progress of any ECU, and programs from the start the one that was at work
    again = Course(count)
    second = percents(times_, straight_again(again), OverallProgress(first[-1] / 100))
    assert never_falls([*first, *second]), (first, second)
    assert second[-1] == 100


def straight_again(course: Course) -> Iterator[Moment]:
    yield S.INSTALLING, 0.0, {}
    yield from course.wait()
    for ecu in course.names:
        yield from course.program(ecu)
    yield from course.put_into_use()
    yield from course.confirm()


def test_progress_goes_on_soon_after_a_retry() -> None:
    course = Course(1)
    moments = [*course.download(), *course.program("ecu0", lost_at=0.9)]
    overall = OverallProgress()
    before = percents(times(1), iter(moments), overall)[-1]
    again = percents(times(1), course.program("ecu0"), overall)
    halfway = again[len(again) // 2]
    assert before < halfway < 99


def test_buses_side_by_side_take_the_time_of_the_slowest() -> None:
    slow_and_fast: Mapping[str, Mapping[str, float]] = {"slow": {"a": 100.0}, "fast": {"b": 1.0}}
    times_ = ExpectedTimes(download_s=0.0, transfers_s=slow_and_fast, boot_s=0.0)
    staged = {"b": EcuProgress("b", P.STAGED)}
    assert remaining_s(times_, S.INSTALLING, downloaded_share=1.0, ecus=staged) == 100.0


def test_only_a_whole_job_has_100() -> None:
    assert [whole_percent(share) for share in (0.0, 0.29, 0.994, 0.9999, 1.0)] == [0, 29, 99, 99, 100]


def test_a_single_bank_that_is_programmed_in_activation_moves_the_progress() -> None:
    ecus = {"ecu0": EcuProgress("ecu0", P.STAGED), "ecu1": EcuProgress("ecu1", P.WAITING)}
    left = [remaining_s(times(2), S.INSTALLING, downloaded_share=1.0, ecus=ecus)]
    left.append(remaining_s(times(2), S.ACTIVATING, downloaded_share=1.0, ecus=ecus))
    assert left[0] == left[1], "its whole transfer is left"
    for phase, done in ((P.TRANSFERRING, 25), (P.TRANSFERRING, 75), (P.CHECKING, 0), (P.ACTIVATING, 0), (P.TRIAL, 0)):
        ecus["ecu1"] = EcuProgress("ecu1", phase, done, 100)
        left.append(remaining_s(times(2), S.ACTIVATING, downloaded_share=1.0, ecus=ecus))
    assert left[1:] == sorted(left[1:], reverse=True)
    assert left[-1] < left[1] - 9.0
