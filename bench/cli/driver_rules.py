"""Options about the driver's decision: what a campaign allows, and when an update is to be installed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import typer

from otabench.bench.errors import WrongUsage
from otabench.proto.driver_rules import MAX_REMINDERS, MAX_TIME_S, DriverRules

MaxReminders = Annotated[
    int | None,
    typer.Option(
        "--max-reminders", metavar="N", min=0, max=MAX_REMINDERS, help="How often the driver may choose Later."
    ),
]
AskBeforeDownload = Annotated[
    bool,
    typer.Option(
        "--ask-before-download", help="Ask the driver before the download, and again before the installation."
    ),
]
InstallBy = Annotated[
    str | None,
    typer.Option(
        "--install-by",
        metavar="TIME",
        help="When it must be installed, such as 2027-01-31T18:00+01:00. It then cannot be declined.",
    ),
]
ScheduleTime = Annotated[
    str,
    typer.Argument(metavar="WHEN", help="`night`, or day and time in the vehicle's zone, such as 2026-11-30T02:30."),
]
MAX_REASON: Final = 200
"""Characters of a driver's reason, as the gateway accepts them."""


def parse_rules(*, max_reminders: int | None, ask_before_download: bool, install_by: str | None) -> DriverRules:
    """Return the rules of a campaign.

    Raises:
        WrongUsage: the time is not one.
    """
    return DriverRules(
        max_reminders=max_reminders,
        asks_before_download=ask_before_download,
        install_by=0 if install_by is None else _seconds(install_by),
    )


def _seconds(text: str) -> int:
    try:
        seconds = int(datetime.fromisoformat(text).astimezone().timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise WrongUsage(f"--install-by: {text!r} is not a time; write it as 2027-01-31T18:00+01:00") from error
    if not 0 < seconds <= MAX_TIME_S:
        raise WrongUsage(f"--install-by: {text} is not between 1970 and the year 36000")
    return seconds
