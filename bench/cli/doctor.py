"""``otabench doctor``: what ``doctor`` found, a line each, or as JSON."""

from __future__ import annotations

import json

import typer

from otabench.bench.bus import environment
from otabench.bench.cli.options import AsJson, BenchFile
from otabench.bench.doctor import machine
from otabench.bench.finding import has_failed
from otabench.bench.topology import bench_file


def doctor(as_json: AsJson = False, bench: BenchFile = None) -> None:
    """Show what this machine offers a bench, and what is missing.

    One line for each finding, with its remedy. Exit status 1 if one of them is `fail`.
    """
    topology = bench_file.load(bench)
    if not environment.wants_kernel_can():
        topology, _ = environment.usable_topology(topology)
    findings = machine.examine(topology)
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding.as_line())
    raise typer.Exit(1 if has_failed(findings) else 0)
