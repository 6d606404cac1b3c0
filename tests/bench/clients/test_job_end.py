"""A job has ended when the cloud has heard that it has: whoever waits for the end waits for both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from otabench.bench.clients.job_end import wait_for_cloud
from otabench.bench.errors import EndpointError, WaitTimeout
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState, to_wire

Answer = JobState | EndpointError
VERIFYING, SUCCEEDED = JobState.VERIFYING, JobState.SUCCEEDED
NO_ANSWER = EndpointError("cloud control plane: GetCampaign: no answer")


class Cloud:
    """Answers with one state after the other; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def get_campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, EndpointError):
            raise answer
        others = ota_pb2.Job(job_id="another", state=to_wire(SUCCEEDED))
        return ota_pb2.Campaign(
            campaign_id=campaign_id, jobs=[others, ota_pb2.Job(job_id="job-1", state=to_wire(answer))]
        )


def wait(cloud: Cloud, *, timeout_s: float = 5.0, ups: Sequence[bool] = ()) -> None:
    hears = iter(ups)
    wait_for_cloud(
        cast(Any, cloud), campaign_id="c-1", job_id="job-1", timeout_s=timeout_s, can_hear=lambda: next(hears, True)
    )


@pytest.mark.parametrize("end", sorted(FINAL_STATES))
def test_waiting_ends_with_the_cloud_s_own_end(end: JobState) -> None:
    cloud = Cloud(VERIFYING, VERIFYING, end)
    wait(cloud)
    assert cloud.asked == 3


def test_a_cloud_that_was_just_restarted_is_asked_again() -> None:
    cloud = Cloud(NO_ANSWER, VERIFYING, SUCCEEDED)
    wait(cloud)
    assert cloud.asked == 3


@pytest.mark.parametrize(("answer", "held"), [(VERIFYING, "holds it as VERIFYING"), (NO_ANSWER, "no answer")])
def test_a_cloud_that_never_hears_of_it_is_an_error_that_names_its_state(answer: Answer, held: str) -> None:
    with pytest.raises(
        WaitTimeout, match=rf"job job-1 has ended in the gateway, but .*{held} after 0 s; .*gateway\.log"
    ):
        wait(Cloud(answer), timeout_s=0.1)


def test_a_cloud_that_cannot_hear_is_not_waited_for() -> None:
    cloud = Cloud(VERIFYING)
    wait(cloud, ups=(True, False))
    assert cloud.asked == 1
