"""``otabench trace``: one job's story, from cloud to frame."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, AsJson, RunDir
from otabench.bench.report import story


def trace(
    job: Annotated[str | None, typer.Argument(help="By default the last one.")] = None,
    run: RunDir = LATEST,
    exchanges: Annotated[bool, typer.Option("--uds", help="Also print every UDS exchange.")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="Every UDS exchange and CAN frame, too, from the run's captures.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the events of one job in order.

    Events of cloud, gateway and ECUs, UDS exchanges and CAN frames are joined by time. --json prints the job's trace events.
    """
    running.note_others(run)
    if as_json:
        for event in story.events_of(run, job):
            print(json.dumps(event, separators=(",", ":")))
        return
    for line in story.tell(run, job, exchanges=exchanges or frames, frames=frames):
        print(line)
