"""When a scheduled update begins: in the vehicle's zone, never in the past, and for a stated time only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from otabench.bench.gateway.hmi.model import DecisionRefused, Refusal
from otabench.bench.gateway.jobs.appointments import appointment_of
from otabench.proto.time_zone import zone_of

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 28, 12, tzinfo=BERLIN)


def test_a_day_and_time_is_that_of_the_vehicle() -> None:
    chosen = appointment_of("2026-11-29T02:30", now=NOON.astimezone(UTC), zone=BERLIN)
    assert chosen.start_from.astimezone(UTC) == datetime(2026, 11, 29, 1, 30, tzinfo=UTC)
    assert chosen.start_by - chosen.start_from == timedelta(hours=2)


@pytest.mark.parametrize(
    ("now", "starts", "ends"),
    [
        ((28, 12, 0), (28, 22, 0), (29, 5, 0)),
        ((28, 23, 15), (28, 23, 15), (29, 5, 0)),
        ((29, 3, 0), (29, 3, 0), (29, 5, 0)),
        ((29, 5, 0), (29, 22, 0), (30, 5, 0)),
    ],
)
def test_the_next_night_is_the_one_that_has_begun_or_the_one_to_come(
    now: tuple[int, int, int], starts: tuple[int, int, int], ends: tuple[int, int, int]
) -> None:
    moments = [datetime(2026, 11, *each, tzinfo=BERLIN) for each in (now, starts, ends)]
    chosen = appointment_of("night", now=moments[0].astimezone(UTC), zone=BERLIN)
    assert (chosen.start_from, chosen.start_by) == (moments[1], moments[2])


@pytest.mark.parametrize(
    ("when", "kind"),
    [
        ("", Refusal.NO_TIME),
        ("tomorrow", Refusal.NO_TIME),
        ("2026-11-29T02:30+01:00", Refusal.NO_TIME),
        ("2026-11-28T11:59", Refusal.TIME_PASSED),
        ("2026-12-29T12:00", Refusal.TOO_FAR),
    ],
)
def test_any_other_time_is_refused_with_its_reason(when: str, kind: Refusal) -> None:
    with pytest.raises(DecisionRefused) as refused:
        appointment_of(when, now=NOON, zone=BERLIN)
    assert refused.value.kind is kind


def test_utc_needs_no_database_of_zones_and_an_unknown_zone_is_named() -> None:
    assert zone_of("UTC") is UTC
    with pytest.raises(ValueError, match="'Mars/Olympus' is not a time zone"):
        zone_of("Mars/Olympus")
