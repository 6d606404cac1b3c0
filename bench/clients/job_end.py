"""The end of a job in the cloud. A job has ended when the gateway and the cloud agree that it has.

The gateway stores a state before it reports it, so the cloud learns of an end later. Until then it refuses the vehicle's next
campaign as VEHICLE_BUSY. Whoever waits for an end and then takes a next step waits here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError, WaitTimeout
from otabench.proto.job_states import from_wire, is_final

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient

_POLL_INTERVAL_S: Final = 0.05


def wait_for_cloud(
    operator: OperatorClient,
    *,
    campaign_id: str,
    job_id: str,
    timeout_s: float,
    can_hear: Callable[[], bool] = lambda: True,
) -> None:
    """Wait until the cloud has heard that a job ended.

    Args:
        operator: the connection to the cloud.
        campaign_id: the job's campaign.
        job_id: the job.
        timeout_s: until then.
        can_hear: whether gateway and cloud are both up. If not, this returns at once: the cloud cannot hear anything.

    Raises:
        WaitTimeout: the cloud still holds the job as open, or does not answer.
    """
    deadline = Deadline(timeout_s)
    while can_hear():
        try:
            jobs = operator.get_campaign(campaign_id).jobs
            states = [from_wire(job.state) for job in jobs if job.job_id == job_id]
            held = f"the cloud holds it as {', '.join(states) or 'unknown'}"
            if states and all(map(is_final, states)):
                return
        except EndpointError as error:  # the cloud may have just been restarted
            held = str(error)
        if deadline.has_passed():
            raise WaitTimeout(
                f"job {job_id} has ended in the gateway, but {held} after {timeout_s:.0f} s; "
                "does the gateway reach the cloud? See logs/gateway.log and logs/cloud-control.log"
            )
        deadline.pause(_POLL_INTERVAL_S)
