"""Roll-outs: the options of `campaign create`, how a roll-out is shown, and `otabench campaign pause`, `resume` and `abort`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, Campaign, RunDir
from otabench.bench.errors import WrongUsage
from otabench.proto import job_states, ota_pb2
from otabench.proto.foreign_text import printable

_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")
Waves = Annotated[
    str | None,
    typer.Option(
        "--waves",
        metavar="SIZES",
        help="Roll out in waves, each including those before it: shares or numbers of vehicles, such as 5,10%,100%.",
    ),
]
Success = Annotated[
    str | None,
    typer.Option("--success", metavar="PERCENT", help="How much of a wave must succeed before the next wave opens."),
]
Errors = Annotated[
    str | None,
    typer.Option("--errors", metavar="PERCENT", help="How much of a wave may fail; more failures pause the roll-out."),
]
PerMinute = Annotated[
    int,
    typer.Option(
        "--per-minute",
        metavar="N",
        min=0,
        max=1_000_000,
        help="Offer it to at most N vehicles in a minute; 0: no limit.",
    ),
]
Start = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="Offer it from then on, such as 2027-01-31T18:00+01:00.")
]
End = Annotated[str | None, typer.Option("--end", metavar="TIME", help="Offer it to no more vehicles from then on.")]


def parse_rollout(
    *, waves: str | None, success: str | None, errors: str | None, per_minute: int, start: str | None, end: str | None
) -> ota_pb2.Rollout | None:
    """Return the roll-out that the options ask for; None: all vehicles at once.

    Raises:
        WrongUsage: an option cannot be read. The cloud judges whether they agree.
    """
    if waves is None and success is None and errors is None and not per_minute and start is None and end is None:
        return None
    return ota_pb2.Rollout(
        waves=[_parse_wave(text.strip()) for text in waves.split(",")] if waves is not None else [],
        success_percent=None if success is None else _parse_percent("--success", success),
        error_percent=None if errors is None else _parse_percent("--errors", errors),
        max_per_minute=per_minute,
        start_at=_parse_time("--start", start),
        end_at=_parse_time("--end", end),
    )


def rollout_lines(campaign: ota_pb2.Campaign) -> Iterator[str]:
    """Yield the lines that show a campaign's roll-out. Without one there are none."""
    if not campaign.HasField("rollout"):
        return
    status = campaign.rollout
    rules = status.rules
    limits = [f"next wave at {rules.success_percent:g} % SUCCEEDED"] if len(status.waves) > 1 else []
    limits += [f"{rules.error_percent:g} % may fail"] if rules.HasField("error_percent") else []
    limits += [f"{rules.max_per_minute} a minute"] if rules.max_per_minute else []
    limits += [f"from {_time(rules.start_at)}"] if rules.start_at else []
    limits += [f"until {_time(rules.end_at)}"] if rules.end_at else []
    yield f"roll-out: {status.open_waves} of {len(status.waves)} waves open" + "".join(f"; {each}" for each in limits)
    if status.paused:
        yield f"roll-out PAUSED ({printable(status.paused)}): {printable(status.paused_reason)}"
    for number, wave in enumerate(status.waves, start=1):
        state = "open" if number <= status.open_waves else "closed"
        yield (
            f"wave {number} ({state}): {wave.jobs} jobs, {wave.held} not offered yet, {wave.succeeded} succeeded, "
            f"{wave.failed} failed, {wave.left_out} canceled or rejected"
        )


def pause(
    campaign: Campaign = None,
    reason: Annotated[str, typer.Option("--reason", help="Shown to operators.")] = "",
    run: RunDir = LATEST,
) -> None:
    """Offer a campaign to no more vehicles, until it is resumed.

    Jobs that vehicles have begun continue. Only a campaign with a roll-out can be paused (`campaign create --waves`, `--per-minute`, …).
    """
    with running.find(run).operator() as operator:
        _print(operator.pause_campaign(campaign or running.newest_campaign(operator), reason=reason))


def resume(campaign: Campaign = None, run: RunDir = LATEST) -> None:
    """Continue a paused campaign.

    You accept what has paused it: the failures so far, or a wave with too few successes.
    """
    with running.find(run).operator() as operator:
        _print(operator.resume_campaign(campaign or running.newest_campaign(operator)))


def abort(
    campaign: Campaign = None,
    reason: Annotated[str, typer.Option("--reason", help="Sent to the vehicles.")] = "aborted by the operator",
    forced: Annotated[
        bool, typer.Option("--forced", help="Also cancel jobs that vehicles have begun, as `campaign cancel` does.")
    ] = False,
    run: RunDir = LATEST,
) -> None:
    """Abort a campaign: cancel the jobs that no vehicle has begun."""
    with running.find(run).operator() as operator:
        wanted = campaign or running.newest_campaign(operator)
        aborted = operator.cancel_campaign(wanted, reason=reason, only_not_begun=not forced)
    _print(aborted)


def retry(campaign: Campaign = None, run: RunDir = LATEST) -> None:
    """Create a campaign for the vehicles whose jobs have failed.

    It has the same images and rules, and no waves. Jobs that are FAILED, ROLLED_BACK or TIMED_OUT are tried again.
    """
    with running.find(run).operator() as operator:
        found = operator.retry_campaign(campaign or running.newest_campaign(operator))
    _print(found)
    for each in found.excluded:
        print(f"  {printable(each.vin)} is left out: {printable(each.reason)}")


def _print(campaign: ota_pb2.Campaign) -> None:
    print(f"{campaign.campaign_id}: {printable(campaign.name)}")
    print("  " + ", ".join(f"{each.jobs} {job_states.from_wire(each.state)}" for each in campaign.counts))
    for line in rollout_lines(campaign):
        print(f"  {line}")


def _parse_wave(text: str) -> ota_pb2.Rollout.Wave:
    if text.endswith("%"):
        return ota_pb2.Rollout.Wave(share_percent=_parse_percent("--waves", text))
    if not _NUMBER.fullmatch(text):
        raise WrongUsage(
            f"--waves: {text[:40]!r} is neither a share nor a number of vehicles; write them as 5,10%,100%"
        )
    return ota_pb2.Rollout.Wave(vehicles=int(text))


def _parse_percent(option: str, text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError as error:
        raise WrongUsage(f"{option}: {text[:40]!r} is not a share; write it as 95%") from error


def _parse_time(option: str, text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise WrongUsage(f"{option}: {text[:40]!r} is not a time; write it as 2027-01-31T18:00+01:00") from error


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
