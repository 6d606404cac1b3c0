"""``otabench campaign approve|decline|schedule|later|withdraw``: decide in the driver's place, as the driver's page does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from otabench.bench.cli import running
from otabench.bench.cli.driver_rules import MAX_REASON, ScheduleTime
from otabench.bench.cli.options import LATEST, MAX_WAIT_S, Campaign, RunDir
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, WrongUsage
from otabench.proto import job_states, ota_pb2
from otabench.proto.job_states import JobState

_OFFER_WAIT_S: Final = 30.0
_POLL_INTERVAL_S: Final = 0.1
_BEFORE_THE_OFFER: Final = (JobState.CREATED, JobState.CONFIRMING)
"""In these states the vehicle has not asked its driver yet."""
_DECIDED: Final = {
    "install": "approved; `otabench campaign watch` follows it",
    "decline": "declined",
    "later": "put off; `otabench campaign approve` approves it",
    "schedule": "scheduled; `otabench campaign watch` follows it",
}
DecisionWait = Annotated[
    float,
    typer.Option(
        "--wait", metavar="SECONDS", min=0, max=MAX_WAIT_S, help="Wait until the vehicle has asked its driver."
    ),
]


def approve(campaign: Campaign = None, run: RunDir = LATEST, wait: DecisionWait = _OFFER_WAIT_S) -> None:
    """Approve an update in the driver's place.

    The consent is for one job: that of this campaign for the running bench's vehicle.
    """
    _decide("install", campaign, run=run, wait_s=wait)


def decline(
    campaign: Campaign = None,
    reason: Annotated[str, typer.Option("--reason", help="Sent to the cloud.")] = "",
    run: RunDir = LATEST,
    wait: DecisionWait = _OFFER_WAIT_S,
) -> None:
    """Decline an update in the driver's place: its job ends as REJECTED."""
    if len(reason) > MAX_REASON:
        raise WrongUsage(f"--reason: {len(reason)} characters are more than {MAX_REASON}")
    _decide("decline", campaign, run=run, wait_s=wait, reason=reason)


def schedule(
    when: ScheduleTime,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="CAMPAIGN", help="By default the newest.")
    ] = None,
    run: RunDir = LATEST,
    wait: DecisionWait = _OFFER_WAIT_S,
) -> None:
    """Approve an update in the driver's place, for a later time.

    It begins then, as soon as the vehicle meets all conditions; after two hours, or at the end of the night, the driver is asked again.
    """
    _decide("schedule", campaign, run=run, wait_s=wait, when=when)


def later(campaign: Campaign = None, run: RunDir = LATEST, wait: DecisionWait = _OFFER_WAIT_S) -> None:
    """Put an update off in the driver's place: it stays on offer."""
    _decide("later", campaign, run=run, wait_s=wait)


def withdraw(campaign: Campaign = None, run: RunDir = LATEST) -> None:
    """Cancel an update in the driver's place, while it is downloaded or installed, until activation begins."""
    bench = running.find(run)
    with bench.operator() as operator:
        campaign_id = campaign or running.newest_campaign(operator)
        job = _job_of_vehicle(operator.get_campaign(campaign_id), bench.vin)
    state = job_states.from_wire(job.state)
    if not job_states.is_allowed(state, JobState.CANCELED):
        raise BenchError(f"job {job.job_id} of {campaign_id} can no longer be canceled: it is {state}")
    bench.hmi.decide("cancel", job_id=job.job_id)
    print(f"{job.job_id}: canceled")


def _decide(decision: str, campaign: str | None, *, run: Path, wait_s: float, when: str = "", reason: str = "") -> None:
    """Send a decision as the driver's page does, for the one job of the campaign that is this vehicle's.

    Raises:
        BenchError: the job does not wait for a decision, or the gateway refuses it.
    """
    bench = running.find(run)
    deadline = Deadline(wait_s)
    with bench.operator() as operator:
        campaign_id = campaign or running.newest_campaign(operator)
        while True:
            job = _job_of_vehicle(operator.get_campaign(campaign_id), bench.vin)
            state = job_states.from_wire(job.state)
            if state not in _BEFORE_THE_OFFER or deadline.has_passed():
                break
            deadline.pause(_POLL_INTERVAL_S)
    if state is not JobState.WAITING_FOR_APPROVAL and bench.hmi.state().get("question") is None:
        remedy = "give --wait more" if state in _BEFORE_THE_OFFER else "`otabench campaign create` makes a new campaign"
        raise BenchError(f"job {job.job_id} of {campaign_id} does not wait for a decision: it is {state}; {remedy}")
    bench.hmi.decide(decision, job_id=job.job_id, when=when, reason=reason)
    print(f"{job.job_id}: {_DECIDED[decision]}")


def _job_of_vehicle(campaign: ota_pb2.Campaign, vin: str) -> ota_pb2.Job:
    for job in campaign.jobs:
        if job.vin == vin:
            return job
    raise WrongUsage(f"campaign {campaign.campaign_id} has no job for this bench's vehicle {vin}")
