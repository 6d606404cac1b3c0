"""``python -m tests.benchmarks.cloud``: measure and show (docs/performance.md).

Exit status: 0 measured; 1 the measurement could not run (one line on stderr); 2 wrong usage. A goal that is missed is only shown,
because on a machine with other work the figures vary.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console

from otabench.cloud.errors import CloudError
from tests.benchmarks.cloud.measure import Bench, Figures, Options
from tests.benchmarks.cloud.view import show, write_json
from tests.cloud.postgres import PostgreSQL

_WIDTH: Final = 150
"""Of the table where there is no terminal: none of its columns is cut."""
_LOCAL: Final = "local"


def run(databases: list[str], options: Options, *, console: Console) -> Figures:
    """Measure on SQLite, and on the given databases."""

    def say(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True, markup=False)

    load, cores = os.getloadavg()[0], os.cpu_count()
    say(f"{cores} cores; load of the machine before: {load:.1f}" + (" (other work runs beside)" if load > 1 else ""))
    figures = Figures([], [], [])
    with ExitStack() as stack:
        for place, given in enumerate(["sqlite", *databases]):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otabench-cloud-")))
            url = given
            if given == "sqlite":
                url = f"sqlite:///{folder}/cloud.db"
            elif given == _LOCAL:
                server = PostgreSQL(durable=True)
                stack.callback(server.remove)
                server.start()
                url = server.new_database()
            bench = Bench(folder / str(place), database_url=url, options=options, say=say)
            with bench.running():
                figures.rates.extend(bench.rates())
                figures.creations.append(bench.creation())
                figures.wakes.append(bench.wake())
    return figures


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.cloud",
        description="Measure the control plane beside a bare grpc.aio server with the same TLS and messages.",
    )
    parser.add_argument(
        "--database",
        action="append",
        default=[],
        metavar="URL",
        help=f"an empty PostgreSQL database, measured beside SQLite; {_LOCAL}: start a server for this run",
    )
    parser.add_argument("--vehicles", type=int, default=10_000, metavar="N", help="of the campaigns (10000)")
    parser.add_argument("--woken", type=int, default=1000, metavar="N", help="vehicles that are woken at once (1000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each rate (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    given = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    try:
        figures = run(given.database, Options(given.vehicles, given.woken, given.seconds), console=console)
    except (CloudError, ValueError, TimeoutError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    show(console, figures)
    if given.json is not None:
        write_json(given.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
