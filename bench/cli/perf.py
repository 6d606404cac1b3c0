"""``otabench perf``: sweeps of faults over whole updates."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otabench.bench.cli.options import MAX_SEED, MAX_WAIT_S

if TYPE_CHECKING:
    from rich.console import Console


_CHANNEL: Final = "vcan0"
_WIDTH: Final = 150
"""Width of tables without a terminal: wide enough that no column is cut."""
MAX_STEP: Final = 1_000_000
MAX_IMAGE_BYTES: Final = 1_000_000
_Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of everything random; printed at the end.")
]

_BenchWait = Annotated[
    float,
    typer.Option(
        "--bench-wait", metavar="SECONDS", min=0, max=MAX_WAIT_S, help="Wait for a bus that another run uses."
    ),
]
_Every = Annotated[
    int, typer.Option("--every", min=1, max=MAX_STEP, metavar="N", help="Only every n-th point of the sweep.")
]
_Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write everything as JSON.")]


def powercut(
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", metavar="BYTES", min=1, max=MAX_IMAGE_BYTES, help="Size of the firmware."),
    ] = None,
    full_size: Annotated[bool, typer.Option("--full-size", help="256 KiB of firmware, second cuts sampled.")] = False,
    second_cut: Annotated[
        bool, typer.Option("--second-cut/--no-second-cut", help="Cut the recovery as well, at every operation.")
    ] = True,
    seed: _Seed = 0,
    replay: Annotated[str, typer.Option("--replay", metavar="SEQUENCE", help="Only this sequence of cuts.")] = "",
) -> None:
    """Cut the power at every flash operation of an update.

    Prints `N cut points, 0 bricked`. Exit status 1 if one is bricked.
    """
    from otabench.bench.perf.powercut import (
        FULL_SIZE_BODY_BYTES,
        FULL_SIZE_SECOND_CUTS,
        SMALL_BODY_BYTES,
        PowercutOptions,
        run,
    )

    body = image_size or (FULL_SIZE_BODY_BYTES if full_size else SMALL_BODY_BYTES)
    sampled = FULL_SIZE_SECOND_CUTS if full_size else None
    options = PowercutOptions(body, sampled if second_cut else 0, seed, replay)
    raise typer.Exit(1 if run(options, _console()).findings else 0)


def message_cut(
    every: _Every = 1,
    point: Annotated[
        list[str] | None,
        typer.Option("--point", metavar="POINT", help="Only this one, such as ecu:after@7; repeatable."),
    ] = None,
    json_file: _Json = None,
    bench_wait: _BenchWait = 0.0,
) -> None:
    """Reset the ECU and kill the gateway at every message.

    Every UDS message of an update, before and after it. Exit status 1 if an ECU is bricked or stuck.
    """
    from otabench.bench.perf import message_cut as sweep
    from otabench.bench.perf.show import SweepView, write_json

    console = _console()
    points = [sweep.Point.parse(text) for text in point or ()]
    view = SweepView(console, command="otabench perf message-cut")
    with _taken(_CHANNEL, console, command="message-cut", wait_s=bench_wait):
        runs = sweep.sweep(lambda messages: points or sweep.points_of(len(messages), step=every), on_run=view.on_run)
    console.print(runs.sentence("cut points"))
    if json_file is not None:
        write_json(json_file, runs)
    raise typer.Exit(1 if runs.wrong else 0)


def frames(
    every: _Every = 1,
    point: Annotated[
        list[str] | None, typer.Option("--point", metavar="POINT", help="Only this one, such as drop@17; repeatable.")
    ] = None,
    seed: _Seed = 0,
    json_file: _Json = None,
    bench_wait: _BenchWait = 0.0,
) -> None:
    """Drop, double and corrupt every frame of an update.

    One update for each frame and fault. Exit status 1 if an ECU is bricked or stuck.
    """
    from otabench.bench.perf import frames as sweep
    from otabench.bench.perf.show import SweepView, write_json

    console = _console()
    points = [sweep.Point.parse(text) for text in point or ()]
    view = SweepView(console, command=f"otabench perf frames --seed {seed}")
    with _taken(_CHANNEL, console, command="frames", wait_s=bench_wait):
        runs = sweep.sweep(lambda number: points or sweep.points_of(number, step=every), seed=seed, on_run=view.on_run)
    console.print(f"{runs.sentence('disturbed frames')}   (seed {seed})")
    if json_file is not None:
        write_json(json_file, runs, seed=seed)
    raise typer.Exit(1 if runs.wrong else 0)


def _taken(channel: str, console: Console, *, command: str, wait_s: float) -> AbstractContextManager[None]:
    """Hold the bus's lock."""
    from otabench.bench.launcher import lock

    return lock.held(
        [("socketcan", channel)],
        bench=f"otabench perf {command}",
        wait_s=wait_s,
        say=lambda line: console.print(line, soft_wrap=True, markup=False),
    )


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)
