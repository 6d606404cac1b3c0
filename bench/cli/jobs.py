"""``otabench campaign jobs`` and ``otabench campaign abandon``: the jobs of many vehicles, and the end of one whose vehicle is gone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, AsJson, RunDir
from otabench.bench.errors import WrongUsage
from otabench.proto import job_states, ota_pb2
from otabench.proto.foreign_text import printable
from otabench.proto.job_states import JobState


def list_jobs(
    campaign: Annotated[str, typer.Option("--campaign", metavar="CAMPAIGN", help="Only jobs of this campaign.")] = "",
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Only jobs in this state, such as FAILED; repeatable."),
    ] = None,
    vin: Annotated[str, typer.Option("--vin", metavar="PREFIX", help="Only jobs of VINs that begin with PREFIX.")] = "",
    run: RunDir = LATEST,
    as_json: AsJson = False,
) -> None:
    """List jobs in the order of their VINs.

    With --json, print one job on each line.
    """
    states = [_state_of(text) for text in state or ()]
    with running.find(run).operator() as operator:
        for job in operator.list_jobs(campaign_id=campaign, states=states, vin_prefix=vin):
            print(json.dumps(_as_json(job), separators=(",", ":")) if as_json else _line(job))


def abandon(
    campaign: Annotated[str, typer.Argument(help="The campaign.")],
    vin: Annotated[str, typer.Argument(help="The vehicle.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Shown to operators, and to the vehicle if it comes back.")
    ] = "",
    run: RunDir = LATEST,
) -> None:
    """End the job of a vehicle that does not come back.

    The vehicle is not asked. `otabench campaign cancel` is for vehicles that answer.
    """
    with running.find(run).operator() as operator:
        print(_line(operator.abandon_job(campaign, vin, reason=reason)))


def _state_of(text: str) -> JobState:
    try:
        return JobState(text.upper())
    except ValueError as error:
        raise WrongUsage(f"--state {text}: one of {', '.join(JobState)}") from error


def _line(job: ota_pb2.Job) -> str:
    reason = f" ({printable(job.reason)})" if job.reason else ""
    names = "  ".join(map(printable, (job.campaign_id, job.job_id, job.vin)))
    return f"{names}  {job_states.from_wire(job.state)}{reason}"


def _as_json(job: ota_pb2.Job) -> dict[str, Any]:
    return dict(MessageToDict(job, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
