"""Times and errors of calls, of several load processes."""

from __future__ import annotations

from otabench.bench.fleet.measurements import Measurements, merge, summarize


def measured(seconds: float, times_s: list[float], errors: int = 0) -> Measurements:
    part = Measurements(seconds)
    for each in times_s:
        part.add("CheckIn", each)
    for _ in range(errors):
        part.add_error("CheckIn", "UNAVAILABLE")
    return part


def test_the_calls_of_several_processes_are_summed_up() -> None:
    merged = merge([measured(2.0, [0.01] * 98, errors=1), measured(4.0, [0.5, 0.7], errors=2)])

    (summary,) = summarize(merged)

    assert (summary.call, summary.calls, summary.rate) == ("CheckIn", 100, 25.0)
    assert (summary.median_s, summary.p99_s, summary.longest_s) == (0.01, 0.7, 0.7)
    assert summary.errors == {"UNAVAILABLE": 3}


def test_a_call_that_never_succeeded_is_shown() -> None:
    (summary,) = summarize(merge([measured(1.0, [], errors=3)]))

    assert (summary.calls, summary.rate, summary.p99_s) == (0, 0.0, 0.0)
    assert summary.errors == {"UNAVAILABLE": 3}


def test_nothing_measured_is_no_line() -> None:
    assert summarize(merge([])) == []
