"""The figures of a run as tables, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from otabench.bench.errors import BenchError
from otabench.bench.fleet.figures import FleetFigures
from otabench.bench.fleet.servers import BARE
from otabench.proto.foreign_text import printable

HOW: Final = """\
times       of answered calls; in the first three phases a vehicle's first call on a connection includes the connecting with TLS
bare        a grpc.aio server with the same TLS and messages that answers at once, with the same load in the same run
memory      at the end of the phase, the share of what processes have in common (proportional set size); load: its maximum"""


def show(console: Console, figures: FleetFigures) -> None:
    """Print everything."""
    planes = "1 control plane" if figures.replicas == 1 else f"{figures.replicas} control planes"
    console.print(
        f"{figures.vehicles:,} vehicles, {planes}, {figures.database}; "
        f"load of the machine before: {figures.load_before:.1f}",
        soft_wrap=True,
    )
    console.print(_calls(figures))
    console.print(_usage(figures))
    for event in figures.events:
        console.print(event, soft_wrap=True, markup=False)
    console.print(_cost(figures), soft_wrap=True)
    console.print(HOW, soft_wrap=True)
    for finding in figures.findings:
        console.print(printable(finding.as_line()), style="bold red", soft_wrap=True, markup=False)
    if not figures.findings:
        console.print("no job lost, doubled or left open", style="green")


def write_json(path: Path, figures: FleetFigures) -> None:
    """Write the same as JSON.

    Raises:
        BenchError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(asdict(figures), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: cannot be written: {error.strerror or error}; choose another place") from error


def _calls(figures: FleetFigures) -> Table:
    made = Table(title="calls")
    for title in ("phase", "seconds", "call", "calls", "a second", "p50", "p99", "longest", "errors"):
        made.add_column(title, justify="left" if title in ("phase", "call", "errors") else "right")
    for phase in figures.phases:
        for number, one in enumerate(phase.calls):
            made.add_row(
                "" if number else phase.name,
                "" if number else f"{phase.seconds:.1f}",
                one.call,
                f"{one.calls:,}",
                f"{one.rate:,.0f}",
                f"{one.median_s * 1000:.0f} ms",
                f"{one.p99_s * 1000:.0f} ms",
                f"{one.longest_s * 1000:.0f} ms",
                _errors(one.errors),
            )
    return made


def _usage(figures: FleetFigures) -> Table:
    made = Table(title="processor time and memory")
    for title in ("phase", "process", "CPU", "memory"):
        made.add_column(title, justify="left" if title in ("phase", "process") else "right")
    for phase in figures.phases:
        used = [(name, usage) for name, usage in phase.usage.items() if usage.cpu_s >= 0.01]
        for number, (name, usage) in enumerate(used):
            made.add_row(
                "" if number else phase.name, name, f"{usage.cpu_s:.1f} s", f"{usage.memory_bytes / (1 << 20):.0f} MiB"
            )
    return made


def _cost(figures: FleetFigures) -> str:
    whole_ms = figures.cpu_per_vehicle_s(without=[BARE]) * 1000
    return f"cost of a vehicle, all phases: {whole_ms:.1f} ms of processor time of control planes, broker and database"


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in errors.items()) or "none"
