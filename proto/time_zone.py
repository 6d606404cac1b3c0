"""Time zones by their IANA names. UTC needs no database of zones, which a small system may not have."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator


def zone_of(name: str) -> tzinfo:
    """Return the zone of that name.

    Raises:
        ValueError: there is none, or this system has no database of zones.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    # ZoneInfoNotFoundError is a KeyError; a folder of the database raises OSError.
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone of this system; write it as Europe/Berlin") from error


def _known(name: str) -> str:
    zone_of(name)
    return name


TimeZone = Annotated[str, AfterValidator(_known)]
"""A name that ``zone_of`` accepts."""
