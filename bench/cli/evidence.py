"""``otabench evidence``: one update as a signed file, and the check of such a file on another machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.cli.options import LATEST, RunDir
from otabench.bench.clients import running_bench
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.evidence import collect, document, package
from otabench.bench.evidence import verify as verifying
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.proto.vehicle_signature import Signer


def make(
    job: Annotated[str | None, typer.Argument(help="By default the last one.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default JOB.evidence.zip in the run's folder.")
    ] = None,
    run: RunDir = LATEST,
) -> None:
    """Write the evidence of one update: what was demanded, agreed to, done and reached, signed by the gateway.

    The run's keys are needed: take evidence while the bench is up, or run it with --keep-keys.
    """
    parts = collect.parts_of(run, job)
    evidence = document.derive(parts)
    if not evidence.course:
        raise BenchError(f"{run}: the gateway never took job {evidence.job_id} on; there is nothing to prove yet")
    path = out or run.resolve() / f"{evidence.job_id}.evidence.zip"
    package.write(
        path,
        {**parts, **verifying.derived_parts(evidence, parts)},
        signer=_signer(run, evidence.vin),
        made_at=time.time(),
    )
    print(path)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The evidence file.")],
    director_root: Annotated[
        Path, typer.Option("--director-root", metavar="ROOT", help="The Director's root.json that was pinned.")
    ],
    ca: Annotated[Path, typer.Option("--ca", metavar="CA", help="The CA of the vehicles' certificates, PEM.")],
    image_root: Annotated[
        Path | None,
        typer.Option("--image-root", metavar="ROOT", help="The Image repository's root.json that was pinned, if any."),
    ] = None,
) -> None:
    """Check an evidence file with the pinned roots alone.

    Exit status: 0 everything fits; 1 something does not, and the first such thing is named.
    """
    roots = verifying.read_roots(director_root, ca, image_root)
    failed = False
    for check in verifying.verify(file, roots):
        failed = bool(check.problem)
        print(f"{'FAIL' if failed else 'ok':<5}{check.name:<10}{check.problem}".rstrip())
    if failed:
        raise typer.Exit(1)


def _signer(run: Path, vin: str) -> Signer:
    keys = running_bench.published_keys(run)
    if keys is None:
        raise BenchError(
            f"{run}: the run's keys are gone, and evidence is signed with one of them; "
            "take it while the bench is up, or run it with --keep-keys"
        )
    tls = KeyFolder(keys.folder).tls(f"vehicle-{vin}")
    try:
        return Signer(certificate=tls.certificate.read_bytes(), key=tls.key.read_bytes())
    except OSError as error:
        raise WrongUsage(f"{error.filename}: {error.strerror}; the key folder is not that of {vin}") from error
