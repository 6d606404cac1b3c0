"""``otabench report``: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST
from otabench.bench.report.build import write_page


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")] = LATEST,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="By default RUN/report.html.")] = None,
) -> None:
    """Write a run as one HTML page.

    The page needs no other file. Its path is printed.
    """
    running.note_others(run)
    print(write_page(run, out=out))
