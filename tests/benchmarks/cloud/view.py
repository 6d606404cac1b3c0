"""The benchmark's tables, its words on how each figure is taken, and its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.benchmarks.cloud.measure import Creation, Figures, Rate, Wake

_ANSWER_S: Final = 1.0
_DONE_S: Final = 30.0
_STALL_S: Final = 0.1
_WOKEN_S: Final = 5.0
HOW: Final = """\
bare        a grpc.aio server with the same TLS and messages that answers at once, measured in turn with ours with the same load
share       rate of ours / rate of bare; in brackets: by the CPU of a call, which other work disturbs less
stall       the longest check-in of another vehicle from the call until all manifests are made
woken       vehicles connect with TLS and check in at the same moment; each is told its job"""


def show(console: Console, figures: Figures) -> None:
    """Print everything."""
    console.print(_rates(figures.rates))
    for creation in figures.creations:
        console.print(_creation_line(creation), soft_wrap=True)
    for wake in figures.wakes:
        console.print(_wake_line(wake), soft_wrap=True)
    console.print(HOW, soft_wrap=True)


def write_json(path: Path, figures: Figures) -> None:
    """Write the same as JSON."""
    path.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")


def _rates(rates: list[Rate]) -> Table:
    made = Table(title="Control plane: calls a second")
    for title in ("call", "database", "bare", "ours", "share", "goal", "p50 / p99 bare", "p50 / p99 ours", "errors"):
        made.add_column(title, justify="left" if title in ("call", "database") else "right")
    for one in rates:
        by_cpu = (one.bare_cpu_s / (one.bare.calls or 1)) / (one.our_cpu_s / (one.ours.calls or 1) or 1.0)
        made.add_row(
            one.line,
            one.database,
            f"{one.bare.rate:,.0f}",
            f"{one.ours.rate:,.0f}",
            f"[{'green' if one.share >= one.goal else 'bold red'}]{one.share:.2f}[/] ({by_cpu:.2f})",
            f"{one.goal:.2f}",
            f"{one.bare.median_s * 1000:.1f} / {one.bare.p99_s * 1000:.1f} ms",
            f"{one.ours.median_s * 1000:.1f} / {one.ours.p99_s * 1000:.1f} ms",
            _errors(one.ours.errors),
        )
    return made


def _creation_line(one: Creation) -> str:
    stall_s = one.check_ins.longest_s
    return (
        f"CreateCampaign, {one.database}, {one.vehicles:,} vehicles: answer after {one.answer_s:.2f} s (goal {_ANSWER_S:.0f}), "
        f"all manifests after {one.done_s:.1f} s (goal {_DONE_S:.0f}), stall {stall_s * 1000:.0f} ms (goal {_STALL_S * 1000:.0f}; "
        f"p50 {one.check_ins.median_s * 1000:.1f} ms, p99 {one.check_ins.p99_s * 1000:.0f} ms of {one.check_ins.calls:,}), "
        f"errors {_errors(one.check_ins.errors)}"
    )


def _wake_line(one: Wake) -> str:
    return (
        f"woken, {one.database}, {one.vehicles:,} vehicles: all answered after {one.taken.seconds:.1f} s (goal {_WOKEN_S:.0f}), "
        f"p50 {one.taken.median_s:.1f} s, longest {one.taken.longest_s:.1f} s, errors {_errors(one.taken.errors)}"
    )


def _errors(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in errors.items()) or "none"
