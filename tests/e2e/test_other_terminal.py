"""What ``otabench up`` prints for another terminal works there as printed."""

from __future__ import annotations

import subprocess
from itertools import takewhile

from otabench.bench.cli import other_terminal
from tests.e2e.living_bench import LivingBench


def test_the_printed_lines_are_run(living: LivingBench) -> None:
    # given the lines that are printed while the bench is up
    bench = living.bench
    way = other_terminal.of_this_process(bench.folder.root)
    lines = dict(line.split(maxsplit=1) for line in other_terminal.lines(way, channels=bench.channels()))
    # when they are run as printed, then they reach this bench
    assert bench.topology.vehicle.vin in run(lines["status"])
    if not lines["frames"].startswith("("):
        frame = run(f"{lines['frames']} -n 1").split()
        assert frame[0] in bench.channels() and "".join(takewhile(str.isalnum, frame[1]))


def run(line: str) -> str:
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout
