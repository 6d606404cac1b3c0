"""Where a job is, for the text of a wait that was too short."""

from __future__ import annotations

from otabench.bench.clients.job_watch import JobView, where_it_stands
from otabench.proto.job_states import JobState


def test_a_job_stands_in_its_state_with_its_reason() -> None:
    assert where_it_stands(JobView("job-1", JobState.FAILED, "engine: no answer")) == "is FAILED (engine: no answer)"
    assert where_it_stands(JobView("job-1", JobState.INSTALLING)) == "is INSTALLING (no reason given)"


def test_a_job_that_the_gateway_has_not_received_is_explained_by_the_obstacle_that_the_page_shows() -> None:
    page = {"obstacle": {"kind": "ecu_silent", "text": "pump: 22 F189 read: no answer in time"}}
    assert where_it_stands(None, page) == "has not reached the gateway (pump: 22 F189 read: no answer in time)"
    assert where_it_stands(None, {"obstacle": None}) == where_it_stands(None) == "has not reached the gateway"
