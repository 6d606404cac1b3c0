"""``otabench runs …``: the runs that the bench left, listed, compared, pruned, and as one page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from otabench.bench import run_folder
from otabench.bench.cli.options import MAX_RUNS, AsJson
from otabench.bench.errors import WrongUsage
from otabench.bench.report import index as index_page
from otabench.bench.report.of_bench import short
from otabench.bench.run_folder import LATEST
from otabench.bench.runs import compare as comparison
from otabench.bench.runs import find, summary
from otabench.bench.runs import prune as pruning
from otabench.bench.runs.compare import Row, percent
from otabench.bench.runs.summary import RunSummary
from otabench.proto.foreign_text import printable

MAX_AGE_DAYS: Final = 36_500
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="The folder of the runs.")]
_RUNS: Final = Path("runs")
_KIB: Final = 1024
_NONE: Final = "–"


def list_all(runs_dir: RunsDir = _RUNS, as_json: AsJson = False) -> None:
    """List all runs, oldest first.

    One line each: when, result, duration, flash rates, size, and whether private keys are in its folder.
    """
    runs = [summary.of_run(run) for run in run_folder.runs_in(runs_dir)]
    if as_json:
        print(json.dumps([run.as_json() for run in runs], indent=1))
        return
    if not runs:
        print(f"no runs in {runs_dir}; `otabench bench run` makes one")
        return
    for run in runs:
        print(_line(run))
    total = sum(run.size_bytes for run in runs)
    print(f"{_runs(len(runs))}, {_mib(total)}; `otabench runs prune --keep N` removes the oldest")


def show(
    run: Annotated[str, typer.Argument(help="Its name, the first letters of it, or its folder.")] = LATEST,
    runs_dir: RunsDir = _RUNS,
    as_json: AsJson = False,
) -> None:
    """Show one run: its result, its figures, and what is in its folder."""
    found = find.find(runs_dir, run)
    shown, parts = summary.of_run(found), summary.parts_of(found.root)
    if as_json:
        print(json.dumps({**shown.as_json(), "parts": parts}, indent=1))
        return
    print(_line(shown))
    if shown.reason:
        print(f"  reason: {printable(shown.reason)}")
    for label, text in (("vehicle", shown.vin), ("version", shown.target_version), ("faults", ", ".join(shown.faults))):
        if text:
            print(f"  {label}: {text}")
    for state, seconds in shown.states.items():
        print(f"  {state:<22} {seconds:8.2f} s")
    for ecu, figures in shown.ecus.items():
        print(
            f"  {ecu}: {figures.kind}, {figures.bytes:,} bytes in {figures.duration_s:.2f} s, {figures.bytes_per_s / _KIB:.1f} KiB/s, "
            f"{_percent(figures.share_of_limit)} of the line's limit, bus load {_percent(figures.bus_load)}"
        )
    for bus, frames in shown.frames.items():
        print(f"  bus {bus}: {frames:,} frames")
    print(f"  {short(found.root)}: {', '.join(f'{name} {_mib(size)}' for name, size in parts.items())}")


def compare(
    first: Annotated[str, typer.Argument(help="A run, as for `runs show`.")],
    second: Annotated[str, typer.Argument(help="The run to compare it with.")] = LATEST,
    runs_dir: RunsDir = _RUNS,
    as_json: AsJson = False,
) -> None:
    """Compare two runs, figure by figure."""
    runs = [summary.of_run(find.find(runs_dir, name)) for name in (first, second)]
    rows = comparison.rows(*runs)
    if as_json:
        print(
            json.dumps(
                {"first": runs[0].name, "second": runs[1].name, "rows": [row.as_json() for row in rows]}, indent=1
            )
        )
        return
    print(f"{'':<24} {runs[0].name:>20} {runs[1].name:>20}")
    for row in rows:
        print(f"{row.what:<24} {_value(row, row.first):>20} {_value(row, row.second):>20}  {_difference(row)}".rstrip())


def prune(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Only these, as for `runs show`.")] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=0, max=MAX_RUNS, help="All but the newest N runs.")
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, max=MAX_AGE_DAYS, help="Only runs that began longer ago."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and remove nothing.")
    ] = False,
    runs_dir: RunsDir = _RUNS,
    as_json: AsJson = False,
) -> None:
    """Remove runs: those that are named, or by --keep or --older-than.

    A run that is up is never removed.
    """
    if not runs and keep is None and older_than is None:
        raise WrongUsage(
            "what is to be removed? Name runs, or give --keep N or --older-than DAYS; --dry-run shows what would go"
        )
    if runs and keep is not None:
        raise WrongUsage("--keep counts all runs, so it does not go with names of runs; give one or the other")
    chosen = [find.find(runs_dir, name) for name in runs] if runs else run_folder.runs_in(runs_dir)
    plan = pruning.plan(
        chosen,
        up=pruning.running(chosen),
        keep=keep,
        older_than=None if older_than is None else timedelta(days=older_than),
        now=datetime.now(UTC),
    )
    sizes = {run.root.name: summary.size_of(run.root) for run in plan.removed}
    if not dry_run:
        pruning.remove(plan.removed, runs_dir=runs_dir)
        index_page.write(runs_dir)
    if as_json:
        up = [run.root.name for run in plan.up]
        print(json.dumps({"removed": sizes, "up": up, "dry_run": dry_run}, indent=1))
        return
    verb = "would be removed" if dry_run else "removed"
    for name, size in sizes.items():
        print(f"{name}  {_mib(size):>10}  {verb}")
    for run in plan.up:
        print(f"{run.root.name}  stays: its bench is up")
    print(f"{_runs(len(sizes))} {verb}, {_mib(sum(sizes.values()))}")


def index(
    runs_dir: RunsDir = _RUNS,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default index.html among the runs.")
    ] = None,
) -> None:
    """Write all runs as one HTML page, with trends.

    The bench writes it after each run, too. Its path is printed.
    """
    print(index_page.write(runs_dir, out=out))


@contextmanager
def tidied_runs(runs_dir: Path, *, keep: int | None) -> Iterator[None]:
    """Once a run was made inside, however it ended: remove the oldest runs but ``keep``, and write the index of those that stay.

    A command that fails before it has made a run removes nothing.
    """
    before = _names(runs_dir)
    try:
        yield
    finally:
        if _names(runs_dir) - before:
            if keep is not None:
                pruning.keep_newest(runs_dir, keep, now=datetime.now(UTC))
            index_page.write(runs_dir)


def _names(runs_dir: Path) -> set[str]:
    return {run.root.name for run in run_folder.runs_in(runs_dir)}


def _line(run: RunSummary) -> str:
    rates = ", ".join(
        f"{ecu} {figures.kind} {figures.bytes_per_s / _KIB:.1f} KiB/s" for ecu, figures in run.ecus.items()
    )
    duration = _NONE if run.duration_s is None else f"{run.duration_s:.1f} s"
    keys = "  holds keys" if run.has_keys else ""
    return f"{run.name:<19} {run.result:<12} {duration:>9} {_mib(run.size_bytes):>10}  {rates}{keys}".rstrip()


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / _KIB**2:.1f} MiB"


def _percent(share: float | None) -> str:
    value = percent(share)
    return _NONE if value is None else f"{value:.1f} %"


def _value(row: Row, value: comparison.Value) -> str:
    if value is None or value == "":
        return _NONE
    if isinstance(value, str):
        return value
    return f"{value:,.0f} {row.unit}" if row.unit in ("bytes", "frames", "bytes/s") else f"{value:,.2f} {row.unit}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "" if row.first == row.second else "differs"
    sign = "+" if row.difference >= 0 else "-"
    amount = f"{sign}{_value(row, abs(row.difference))}"
    return amount if row.change is None else f"{amount} ({row.change:+.1%})"
