"""``setup/with-can python -m tests.benchmarks.flash``: measure and show (docs/performance.md).

Exit status: 0 every target is met; 1 one is missed, or the measurement could not run (one line on stderr); 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from otabench.bench.errors import BenchError
from otabench.bench.launcher import lock
from tests.benchmarks.flash.measure import measure, measure_memory
from tests.benchmarks.flash.view import show, write_json

_WIDTH: Final = 150
"""Of the table where there is no terminal: none of its columns is cut."""


def run(*, channel: str, json_file: Path | None, wait_s: float, console: Console) -> bool:
    """Measure all lines and return whether every target is met.

    Raises:
        BenchError: the bus is in use or cannot be paced, or something does not run.
    """

    def say(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True, markup=False)

    with lock.held([("socketcan", channel)], bench="benchmark of the flash path", wait_s=wait_s, say=say):
        rates = measure(channel=channel, say=say)
        memory = measure_memory(channel=channel)
    show(console, rates, memory)
    if json_file is not None:
        write_json(json_file, rates, memory)
    return all(one.is_met for one in rates)


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.flash",
        description="Measure the flash path beside the line, the kernel and a peer.",
    )
    parser.add_argument("--channel", default="vcan0", help="a vcan that nothing else uses meanwhile (vcan0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--bench-wait", type=float, default=0.0, metavar="SECONDS", help="wait for a bus in use")
    given = parser.parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    try:
        is_met = run(channel=given.channel, json_file=given.json, wait_s=given.bench_wait, console=console)
    except BenchError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
