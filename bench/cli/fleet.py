"""``otabench fleet``: a cloud with thousands of simulated vehicles."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otabench.bench.cli.options import MAX_SEED

if TYPE_CHECKING:
    from rich.console import Console

    from otabench.bench.fleet.figures import FleetFigures
    from otabench.bench.fleet.run import FleetOptions

_WIDTH: Final = 150
"""Width of tables without a terminal: wide enough that no column is cut."""
_MAX_VEHICLES: Final = 100_000
_MAX_REPLICAS: Final = 16
_MAX_SECONDS: Final = 86_400
_DRIVER: Final = "postgresql+psycopg"


def bench(
    vehicles: Annotated[int, typer.Option("--vehicles", min=1, max=_MAX_VEHICLES, metavar="N", help="How many.")] = 100,
    waves: Annotated[
        str, typer.Option("--waves", metavar="SHARES", help="One campaign each, by the share that has been asked.")
    ] = "1%,10%,100%",
    replicas: Annotated[
        int, typer.Option("--replicas", min=1, max=_MAX_REPLICAS, metavar="N", help="Control planes on one database.")
    ] = 1,
    database: Annotated[
        str,
        typer.Option(
            "--database",
            metavar="URL",
            help="An empty PostgreSQL database; start: a server for this run. Default: SQLite.",
        ),
    ] = "",
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="LIST",
            help="Vehicles that misbehave, by share or number: fail=2%,vanish=1%,duplicate=1%,giant=1.",
        ),
    ] = "",
    loads: Annotated[
        int, typer.Option("--loads", min=1, max=_MAX_REPLICAS, metavar="N", help="Processes that run the vehicles.")
    ] = 1,
    at_a_time: Annotated[
        int, typer.Option("--at-a-time", min=1, max=1000, metavar="N", help="Open connections of each of them.")
    ] = 64,
    sessions: Annotated[
        int,
        typer.Option("--sessions", min=0, max=_MAX_VEHICLES, metavar="N", help="Vehicles of a wave that use MQTT."),
    ] = 200,
    silence: Annotated[
        float,
        typer.Option("--silence", min=1, max=_MAX_SECONDS, metavar="SECONDS", help="Ends a vanished vehicle's job."),
    ] = 30.0,
    work: Annotated[
        float,
        typer.Option("--work", min=0, max=_MAX_SECONDS, metavar="SECONDS", help="Of download and flashing, each."),
    ] = 0.5,
    limit: Annotated[
        float, typer.Option("--limit", min=1, max=_MAX_SECONDS, metavar="SECONDS", help="Of each phase.")
    ] = 600.0,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of who misbehaves.")] = 0,
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="A new folder for logs and keys.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write everything as JSON.")
    ] = None,
) -> None:
    """Run campaigns over a simulated fleet, and kill servers meanwhile.

    Exit status 1 if a job is lost or doubled, or that of a vanished vehicle stays open.
    """
    from rich.console import Console

    from otabench.bench.fleet import show
    from otabench.bench.fleet.plan import make_plan, parse_faults, parse_waves
    from otabench.bench.fleet.run import FleetOptions

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    options = FleetOptions(
        plan=make_plan(vehicles, waves=parse_waves(waves), faults=parse_faults(faults), seed=seed),
        replicas=replicas,
        database=database_url(database),
        loads=loads,
        at_a_time=at_a_time,
        silence_s=silence,
        work_s=work,
        sessions=sessions,
        limit_s=limit,
        seed=seed,
    )
    figures = _run(options, console, keep)
    show.show(console, figures)
    if json_file is not None:
        show.write_json(json_file, figures)
    raise typer.Exit(1 if figures.findings else 0)


def database_url(text: str) -> str:
    """Return SQLAlchemy's URL of ``--database``.

    Raises:
        WrongUsage: it is not PostgreSQL's.
    """
    from otabench.bench.errors import WrongUsage
    from otabench.bench.fleet.run import START

    scheme, separator, rest = text.partition("://")
    if text in ("", START):
        return text
    if not separator or scheme not in ("postgresql", "postgres", _DRIVER):
        # Without the text: it may hold a password.
        raise WrongUsage(f"--database: neither {START} nor a URL such as postgresql://user@host/database")
    return f"{_DRIVER}://{rest}"


def _run(options: FleetOptions, console: Console, keep: Path | None) -> FleetFigures:
    from otabench.bench.errors import BenchError
    from otabench.bench.fleet.run import run

    def say(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True, markup=False)

    if keep is not None:
        try:
            keep.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise BenchError(f"--keep {keep}: cannot be made: {error.strerror or error}") from error
        return run(options, folder=keep.absolute(), say=say)
    folder = Path(tempfile.mkdtemp(prefix="otabench-fleet-"))
    try:
        return run(options, folder=folder, say=say)
    finally:
        # It holds the private keys of all vehicles.
        shutil.rmtree(folder, ignore_errors=True)
