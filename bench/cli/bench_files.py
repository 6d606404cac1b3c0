"""``otabench bench check`` and ``otabench bench init``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.bus import environment
from otabench.bench.cli.options import AsJson
from otabench.bench.doctor import bench_check
from otabench.bench.errors import BenchError
from otabench.bench.finding import has_failed, ok
from otabench.bench.topology import bench_file


def check(
    file: Annotated[Path | None, typer.Argument(help="Bench file; by default the built-in one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a bench file, and whether what it names answers.

    One line for each bus and ECU. Nothing is changed. Exit status 1 if something does not answer, 2 if the file is wrong.
    """
    topology = bench_file.load(file)
    findings = [ok(str(file or bench_file.DEFAULT_NAME), f"vehicle {topology.vehicle.vin}")]
    if not environment.wants_kernel_can():
        notes: list[str] = []
        topology, _ = environment.usable_topology(topology, say=notes.append)
        findings += [ok("kernel", note) for note in notes]
    findings += bench_check.examine(topology)
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.severity:<5} {finding.where}: {finding.sentence()}")
    raise typer.Exit(1 if has_failed(findings) else 0)


def init(file: Annotated[Path, typer.Argument(help="The new file; never overwritten.")]) -> None:
    """Write a commented bench file to start from."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(bench_file.commented_text())
    except FileExistsError as error:
        raise BenchError(f"{file} is there already; choose another name") from error
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}; choose another place") from error
    print(f"{file} written; check it by `otabench bench check {file}`")
