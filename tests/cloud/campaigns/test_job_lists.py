"""Jobs page by page, and the end of a job whose vehicle never comes back."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, job_lists, jobs, status_update
from otabench.cloud.errors import InvalidRequest, NotAllowed, UnknownThing
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import CampaignRow, JobRow, OutboxRow, TransitionRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState, from_wire
from tests.cloud.campaigns.test_hot_path import add_jobs

JOBS = 25


@pytest.fixture
def database(tmp_path: Path) -> Any:
    opened = open_database(f"sqlite:///{tmp_path}/cloud.db")
    opened.run_now(lambda session: add_jobs(session, JOBS))
    yield opened
    opened.close()


def pages(database: Database, **wanted: Any) -> list[list[str]]:
    """Return the VINs of all pages."""
    read: list[list[str]] = []
    token = ""
    while True:
        request = ota_pb2.ListJobsRequest(page_token=token, **wanted)
        answer = database.run_now(partial(job_lists.list_jobs, request=request))
        read.append([job.vin for job in answer.jobs])
        token = answer.next_page_token
        if not token:
            return read


def test_pages_hold_every_job_once_in_order(database: Database) -> None:
    vins = sorted(f"VIN{place}" for place in range(JOBS))

    read = pages(database, campaign_id="c", page_size=10)

    assert list(map(len, read)) == [10, 10, 5]
    assert [vin for page in read for vin in page] == vins
    assert pages(database, page_size=5) == [vins[start : start + 5] for start in range(0, JOBS, 5)]
    assert pages(database) == [vins]


def test_jobs_are_filtered_by_state_and_by_the_beginning_of_the_vin(database: Database) -> None:
    database.run_now(
        lambda session: session.execute(update(JobRow).where(JobRow.vin.in_(["VIN1", "VIN12"])).values(state="FAILED"))
    )

    failed = {"states": ["JOB_STATE_FAILED", "JOB_STATE_CREATED"]}
    assert pages(database, **failed) == [["VIN1", "VIN12"]]
    assert pages(database, vin_prefix="VIN2", page_size=4) == [["VIN2", "VIN20", "VIN21", "VIN22"], ["VIN23", "VIN24"]]
    assert pages(database, vin_prefix="VIN12", **failed) == [["VIN12"]]
    # A placeholder of SQL is a letter like any other.
    assert pages(database, vin_prefix="VIN_") == pages(database, vin_prefix="%") == [[]]


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ({"campaign_id": "x"}, UnknownThing, "no campaign 'x'"),
        ({"states": [99]}, InvalidRequest, "states: 99"),
        ({"states": [0]}, InvalidRequest, "states: 0"),
        ({"page_size": 1001}, InvalidRequest, "page_size 1001: 1000 at most"),
        *(
            ({"page_token": token}, InvalidRequest, "page_token")
            for token in ("x", "bm9uZQ==", "W10=", "WzEsMl0=", "[", "\u00e9")
        ),
    ],
)
def test_a_wrong_list_is_refused(database: Database, wanted: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        database.run_now(lambda session: job_lists.list_jobs(session, ota_pb2.ListJobsRequest(**wanted)))


def test_campaigns_are_listed_in_pages_with_counts_instead_of_jobs(database: Database) -> None:
    def add(session: Session) -> None:
        for place in range(5):
            facts = {
                "name": "",
                "release_notes": "",
                "transfer": "auto",
                "manifest_lifetime_s": 0,
                "approval_timeout_s": 0,
            }
            session.add(CampaignRow(campaign_id=f"c{place}", created_at=1.5, **facts))

    database.run_now(add)

    def page(**wanted: Any) -> ota_pb2.ListCampaignsResponse:
        request = ota_pb2.ListCampaignsRequest(**wanted)
        return database.run_now(lambda session: job_lists.list_campaigns(session, request))

    first = page(page_size=4, without_jobs=True)
    second = page(page_size=4, page_token=first.next_page_token)

    assert [each.campaign_id for each in first.campaigns] == ["c", "c0", "c1", "c2"]
    assert [each.campaign_id for each in second.campaigns] == ["c3", "c4"]
    assert not second.next_page_token
    assert [(each.jobs, from_wire(each.state)) for each in first.campaigns[0].counts] == [(JOBS, "DOWNLOADING")]
    assert not first.campaigns[0].jobs
    assert len(page().campaigns[0].jobs) == JOBS, "without a size everything is in one answer, as it always was"
    with pytest.raises(InvalidRequest, match="page_token"):
        page(page_token="WyJ4IiwieSJd")


@pytest.mark.parametrize("state", list(JobState))
def test_a_job_is_abandoned_in_every_state_that_is_open(database: Database, state: JobState) -> None:
    database.run_now(lambda session: session.execute(update(JobRow).values(state=state, offered=True)))

    def abandon(session: Session) -> jobs.Transition:
        return jobs.abandon(session, "c", "VIN7", reason="scrapped", now=time.time())[1]

    if state in FINAL_STATES:
        with pytest.raises(NotAllowed, match=f"has ended already: it is {state}"):
            database.run_now(abandon)
        return
    ended = database.run_now(abandon)

    # From ACTIVATING on nobody knows what the vehicle runs.
    is_late = state in (JobState.ACTIVATING, JobState.VERIFYING)
    assert ended.after is (JobState.FAILED if is_late else JobState.CANCELED)
    assert ended.reason == f"abandoned by the operator in {state}: scrapped"
    written = database.run_now(
        lambda session: (
            session.scalars(select(TransitionRow.after)).all(),
            session.scalars(select(OutboxRow.topic)).all(),
            session.scalars(select(JobRow.state).where(JobRow.vin != "VIN7").distinct()).all(),
        )
    )
    assert written == ([ended.after], ["otabench/v1/vehicles/VIN7/job"], [state])

    # then: the vehicle that comes back is told, whatever it says
    def come_back(session: Session) -> check_in.CheckInOutcome:
        return check_in.judge(
            session, ota_pb2.CheckInRequest(vin="VIN7", job_id="job-7"), is_signed_now=lambda _: True, now=time.time()
        )

    told = database.run_now(come_back)
    assert (told.decision, told.job_state, told.reason) == (check_in.NO_UPDATE, ended.after, ended.reason)
    report = ota_pb2.UpdateStatusRequest(vin="VIN7", job_id="job-7", transition_seq=9)
    with pytest.raises(NotAllowed, match="has ended"):
        database.run_now(
            lambda session: status_update.apply(session, report, reported=JobState.SUCCEEDED, now=time.time())
        )


def test_only_a_job_of_that_campaign_and_vehicle_is_abandoned(database: Database) -> None:
    for campaign_id, vin in (("x", "VIN7"), ("c", "VIN-unknown"), ("c", "")):
        with pytest.raises(UnknownThing, match="with a job for vehicle"):
            database.run_now(partial(jobs.abandon, campaign_id=campaign_id, vin=vin, reason="", now=time.time()))
