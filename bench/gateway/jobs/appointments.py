"""When an update that the driver put off is to begin: at a day and time, or the next night. Pure.

Times of a day are those of the vehicle's zone, whatever zone the display has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

from otabench.bench.gateway.hmi.model import DecisionRefused, Refusal

NIGHT: Final = "night"
NIGHT_BEGINS: Final = time(22)
NIGHT_ENDS: Final = time(5)
TRY_FOR: Final = timedelta(hours=2)
"""How long after the time of an appointment the vehicle waits for its conditions. A night has its own end."""
_MAX_AHEAD: Final = timedelta(days=30)


@dataclass(frozen=True)
class Appointment:
    """From when, and until when, an update may begin. Both have a time zone."""

    start_from: datetime
    start_by: datetime


def appointment_of(when: str, *, now: datetime, zone: tzinfo) -> Appointment:
    """Return the appointment that the driver chose.

    Args:
        when: ``night``, or day and time in the vehicle's zone: ``2026-11-30T02:30``.
        now: the present, with a time zone.
        zone: the vehicle's.

    Raises:
        DecisionRefused: it is not a time, or one in the past or too far ahead.
    """
    if when == NIGHT:
        return _next_night(now.astimezone(zone))
    try:
        wall = datetime.fromisoformat(when)
    except ValueError as error:
        raise DecisionRefused(
            "That is not a day and time.", kind=Refusal.NO_TIME, detail=f"{when!r}: write 2026-11-30T02:30 or {NIGHT}"
        ) from error
    if wall.tzinfo is not None:
        raise DecisionRefused(
            "That is not a day and time.",
            kind=Refusal.NO_TIME,
            detail=f"{when!r}: leave the zone out, it is the vehicle's",
        )
    # A wall-clock time that a clock change skips or repeats is taken as Python takes it: with the offset before the change.
    start = wall.replace(tzinfo=zone)
    if start <= now:
        raise DecisionRefused("That time has passed.", kind=Refusal.TIME_PASSED, detail=start.isoformat())
    if start > now + _MAX_AHEAD:
        raise DecisionRefused(
            "That is too far ahead.", kind=Refusal.TOO_FAR, detail=f"{start.isoformat()}: 30 days at most"
        )
    return Appointment(start, start + TRY_FOR)


def _next_night(now: datetime) -> Appointment:
    """Return the night that has begun, or the next one."""
    if now.time() < NIGHT_ENDS:
        return Appointment(now, _at(now, NIGHT_ENDS))
    begins = max(now, _at(now, NIGHT_BEGINS))
    return Appointment(begins, _at(now + timedelta(days=1), NIGHT_ENDS))


def _at(day: datetime, clock: time) -> datetime:
    return datetime.combine(day.date(), clock, tzinfo=day.tzinfo)
