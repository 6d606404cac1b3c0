"""``otabench audit verify`` and ``show``: the cloud's audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from otabench.bench.cli.options import LATEST, AsJson, RunDir
from otabench.bench.errors import BenchError, WrongUsage
from otabench.proto import audit_log
from otabench.proto.foreign_text import printable

LogDir = Annotated[
    Path | None,
    typer.Option("--log", metavar="DIR", help="The folder `audit` in a cloud's state_dir. Default: that of the run."),
]


def verify(run: RunDir = LATEST, log: LogDir = None) -> None:
    """Check that no line was changed, removed or cut off.

    Every line has a hash and a signature, and the end is counted. Print each problem. The exit status is 1 if there is one.
    """
    folder = _folder(run, log)
    try:
        problems = audit_log.verify(folder)
        count = sum(1 for _ in audit_log.read(folder))
    except audit_log.AuditError as error:
        raise BenchError(str(error)) from error
    for problem in problems:
        print(f"line {problem.line}: {problem.text}" if problem.line else problem.text)
    if problems:
        raise BenchError(f"{folder}: the audit log was changed or is damaged")
    print(f"{folder}: {count} lines, none changed, none missing")


def show(run: RunDir = LATEST, log: LogDir = None, as_json: AsJson = False) -> None:
    """Show who did what, one line each.

    The oldest comes first. This does not check the log.
    """
    try:
        for entry in audit_log.read(_folder(run, log)):
            print(json.dumps(entry) if as_json else _line(entry))
    except audit_log.AuditError as error:
        raise BenchError(str(error)) from error


def _folder(run: Path, log: Path | None) -> Path:
    folder = log or run / "state" / "cloud" / "audit"
    try:
        is_there = folder.is_dir()
    except (OSError, ValueError):  # a name that no folder can have
        is_there = False
    if not is_there:
        raise WrongUsage(
            f"{printable(str(folder), max_characters=200)}: there is no audit log; give a run by --run, or the log's folder by --log"
        )
    return folder


def _line(entry: dict[str, Any]) -> str:
    facts = [f"{name}={entry[name]}" for name in ("campaign_id", "job_id", "state", "detail") if entry.get(name)]
    lists = [f"{name}={','.join(map(str, entry[name]))}" for name in ("vins", "hashes") if entry.get(name)]
    parts = [entry.get("at", ""), entry.get("who", ""), entry.get("what", ""), entry.get("outcome", ""), *lists, *facts]
    return printable("  ".join(str(part) for part in parts if part))
