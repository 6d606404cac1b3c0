"""``otabench doctor``: prints what ``doctor`` found, one line each, or as JSON. Exit status 1 where a line says fail."""

from __future__ import annotations

import json
from pathlib import Path

from otabench.bench.bus import environment
from otabench.bench.doctor import machine
from otabench.bench.doctor.finding import Level
from otabench.bench.topology import bench_file as topology


def examine(bench_file: Path | None = None, *, as_json: bool = False) -> int:
    """Prints all findings; the exit status.

    Raises:
        BenchError: the bench file is wrong, or cannot do without the kernel's CAN.
    """
    bench = topology.load(bench_file)
    if not environment.wants_kernel_can():
        bench, _ = environment.usable_topology(bench)
    findings = machine.examine(bench)
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding.line())
    return 1 if any(finding.level is Level.FAIL for finding in findings) else 0
