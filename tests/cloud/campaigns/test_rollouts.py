"""Roll-outs in the database and over the wire: jobs are opened once, in time, and no vehicle is offered its job before its wave opens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import grpc
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from otabench.bench.deadline import wait_until
from otabench.cloud.campaigns import approval, jobs, rollouts, timeouts
from otabench.cloud.campaigns.rollout_status import count_waves
from otabench.cloud.campaigns.rollouts import WAITS_FOR_WAVE
from otabench.cloud.errors import Conflict, NotAllowed, UnknownThing
from otabench.cloud.rollout.rules import Progress, Rollout, Wave
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState
from tests.cloud.bench import CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, state_name, words_of
from tests.cloud.campaigns.test_outbox import add_waiting_vehicles, opened

CANARY = Rollout(waves=(Wave(vehicles=3), Wave(share_percent=100)), success_percent=60, error_percent=50)


def prepare(database: Database, rollout: Rollout = CANARY, *, number: int = 20, first_wave: int = 3) -> None:
    """Add a campaign with this roll-out, whose jobs are all held."""
    add_waiting_vehicles(database, number)

    def hold(session: Session) -> None:
        session.execute(
            update(CampaignRow).values(
                rollout=rollout.model_dump_json(), rollout_progress=Progress().model_dump_json(), rollout_open=True
            )
        )
        for position, job in enumerate(session.scalars(select(JobRow).order_by(JobRow.vin))):
            job.held, job.reason, job.position = True, WAITS_FOR_WAVE, position
            job.wave = int(position >= first_wave)

    database.run_now(hold)


def advance(database: Database, *, now: float) -> list[str]:
    """Return the VINs whose jobs are opened."""
    return sorted(vin for _, vin in database.run_now(lambda session: rollouts.advance(session, "c", now=now)))


def end_jobs(database: Database, vins: list[str], state: JobState) -> None:
    database.run_now(lambda session: session.execute(update(JobRow).where(JobRow.vin.in_(vins)).values(state=state)))


def progress_of(database: Database) -> Progress:
    text = database.run_now(lambda session: session.scalar(select(CampaignRow.rollout_progress)))
    return Progress.model_validate_json(text or "")


def test_two_control_planes_open_every_job_once_and_wave_after_wave(each_database_url: str) -> None:
    with opened(each_database_url) as one, opened(each_database_url) as two:
        prepare(one, number=40)
        found: list[str] = []

        async def look(database: Database) -> None:
            try:
                for _, vin in await database.run(lambda session: rollouts.advance(session, "c", now=time.time())):
                    found.append(vin)
            except Conflict:
                pass

        async def look_at_once() -> None:
            await asyncio.gather(*(look(database) for database in (one, two, one, two)))

        asyncio.run(look_at_once())
        assert sorted(found) == [f"VIN{each:05d}" for each in range(3)], "the first wave, each vehicle once"
        asyncio.run(look_at_once())
        assert len(found) == 3, "nothing has succeeded yet"
        end_jobs(one, found[:2], JobState.SUCCEEDED)
        asyncio.run(look_at_once())
        assert len(found) == len(set(found)) == 40
        assert one.run_now(rollouts.find_open) == [], "all jobs are open"


def test_the_rate_holds_over_any_minute(each_database_url: str) -> None:
    with opened(each_database_url) as database:
        prepare(database, Rollout(max_per_minute=4), number=10, first_wave=10)
        assert len(advance(database, now=1000.0)) == 4
        assert advance(database, now=1059.0) == []
        assert len(advance(database, now=1060.0)) == 4
        assert len(advance(database, now=1200.0)) == 2
        assert database.run_now(rollouts.find_open) == []


def test_errors_pause_and_a_person_resumes(database_url: str) -> None:
    with opened(database_url) as database:
        prepare(database)
        canaries = advance(database, now=1000.0)
        end_jobs(database, canaries[:2], JobState.FAILED)
        assert advance(database, now=1001.0) == []
        assert progress_of(database).reason == "2 of 3 jobs of wave 1 have failed: 50 % are allowed"
        database.run_now(lambda session: rollouts.resume(session, "c", now=1002.0))
        # The wave goes on, but its end shows too few successes.
        end_jobs(database, canaries[2:], JobState.SUCCEEDED)
        assert advance(database, now=1003.0) == []
        assert progress_of(database).paused == "too few successes"
        database.run_now(lambda session: rollouts.resume(session, "c", now=1004.0))
        assert len(advance(database, now=1005.0)) == 17


def test_what_is_paused_or_canceled_is_not_opened(database_url: str) -> None:
    with opened(database_url) as database:
        prepare(database)
        canaries = advance(database, now=1000.0)
        database.run_now(lambda session: rollouts.pause(session, "c", reason="a call from the workshop"))
        end_jobs(database, canaries, JobState.SUCCEEDED)
        assert advance(database, now=1001.0) == []
        assert progress_of(database).reason == "a call from the workshop"
        # given: the campaign is aborted softly; one vehicle is in the middle of its job
        end_jobs(database, canaries[:1], JobState.INSTALLING)
        database.run_now(lambda session: jobs.cancel(session, "c", reason="no", now=1002.0, only_not_begun=True))
        counts = database.run_now(lambda session: jobs.count_states(session, "c"))
        assert counts == {JobState.INSTALLING: 1, JobState.SUCCEEDED: 2, JobState.CANCELED: 17}
        asked = select(JobRow.cancel_asked).where(JobRow.vin == canaries[0])
        assert database.run_now(lambda session: session.scalar(asked)) is False
        # then: nothing is left to be opened
        assert advance(database, now=1003.0) == []
        assert database.run_now(rollouts.find_open) == []
        with pytest.raises(NotAllowed, match="its roll-out has ended"):
            database.run_now(lambda session: rollouts.resume(session, "c", now=1004.0))


def test_a_rollout_waits_for_its_approver_and_a_held_job_does_not_time_out(database_url: str) -> None:
    with opened(database_url) as database:
        prepare(database)
        database.run_now(lambda session: session.execute(update(CampaignRow).values(needs_approval=True)))
        assert database.run_now(rollouts.find_open) == []
        released = database.run_now(lambda session: approval.approve(session, "c", who="ann", person="ann", now=1.0))
        assert released == [], "the roll-out opens them, and not the approval"
        assert database.run_now(rollouts.find_open) == ["c"]
        assert [wave.held for wave in database.run_now(lambda session: count_waves(session, "c"))] == [3, 17]

        def overdue(session: Session) -> list[str]:
            return [each.vin for each in timeouts.end_overdue_jobs(session, {JobState.CREATED: 5.0}, now=10_000.0)]

        assert database.run_now(overdue) == []
        canaries = advance(database, now=9_000.0)
        assert sorted(database.run_now(overdue)) == canaries


@pytest.mark.parametrize(
    ("rollout", "campaign_id", "error", "words"),
    [
        (CANARY, "d", UnknownThing, "there is no campaign 'd'"),
        (None, "c", NotAllowed, "has no roll-out"),
        (Rollout(end_at=5.0), "c", NotAllowed, "the end time of its roll-out has passed"),
    ],
)
def test_a_resumption_that_must_not_be(
    database_url: str, rollout: Rollout | None, campaign_id: str, error: type[Exception], words: str
) -> None:
    with opened(database_url) as database:
        prepare(database, rollout or CANARY, number=1)
        if rollout is None:
            database.run_now(lambda session: session.execute(update(CampaignRow).values(rollout="")))
        with pytest.raises(error, match=words):
            database.run_now(lambda session: rollouts.resume(session, campaign_id, now=10.0))


def test_a_vehicle_of_a_later_wave_is_offered_its_job_when_the_wave_opens(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker
) -> None:
    for each in (vehicle, other_vehicle):
        each.register(shared_cloud)
        each.check_in(shared_cloud)
    waves = [ota_pb2.Rollout.Wave(vehicles=1), ota_pb2.Rollout.Wave(share_percent=100)]
    request = campaign_request(vehicle, (ENGINE, images()), rollout=ota_pb2.Rollout(waves=waves, success_percent=100))
    request.vins.append(other_vehicle.vin)
    campaign = shared_cloud.create_campaign(request)
    assert [(wave.jobs, wave.held) for wave in campaign.rollout.waves] == [(1, 1), (1, 1)]
    assert {job.reason for job in campaign.jobs} == {WAITS_FOR_WAVE}
    first, second = campaign.jobs
    operator = shared_cloud.operator
    campaign_id = campaign.campaign_id

    def shown() -> ota_pb2.RolloutStatus:
        found = operator.GetCampaign(ota_pb2.GetCampaignRequest(campaign_id=campaign_id), timeout=CALL_S)
        assert isinstance(found, ota_pb2.Campaign)
        return found.rollout

    def is_offered(each: Vehicle) -> Callable[[], bool]:
        available = ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE
        return lambda: each.check_in(shared_cloud).decision == available

    # given: the first wave is open, and its vehicle is at work
    wait_until(is_offered(vehicle), timeout_s=CALL_S, interval_s=0.1)
    answer = other_vehicle.check_in(shared_cloud)
    no_update = ota_pb2.CheckInResponse.DECISION_NO_UPDATE
    assert (answer.decision, answer.reason) == (no_update, WAITS_FOR_WAVE)
    with pytest.raises(grpc.RpcError) as refused:
        other_vehicle.update(shared_cloud, second.job_id, "CONFIRMING", seq=1)
    assert WAITS_FOR_WAVE in words_of(refused.value)
    # and: a watcher sees a pause, which changes no job
    stream = shared_cloud.peer("viewer").operator.WatchCampaign(
        ota_pb2.GetCampaignRequest(campaign_id=campaign_id), timeout=CALL_S
    )
    next(stream)
    operator.PauseCampaign(ota_pb2.PauseCampaignRequest(campaign_id=campaign_id, reason="wait"), timeout=CALL_S)
    assert any(message.rollout.paused_reason == "wait" for message in stream)
    stream.cancel()
    # when
    for state in ("CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"):
        vehicle.update(shared_cloud, first.job_id, state)
    vehicle.update(shared_cloud, first.job_id, "SUCCEEDED")
    assert shown().open_waves == 1
    with pytest.raises(grpc.RpcError) as refused:
        shared_cloud.peer("viewer").operator.ResumeCampaign(
            ota_pb2.ResumeCampaignRequest(campaign_id=campaign_id), timeout=CALL_S
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    operator.ResumeCampaign(ota_pb2.ResumeCampaignRequest(campaign_id=campaign_id), timeout=CALL_S)
    # then
    wait_until(is_offered(other_vehicle), timeout_s=CALL_S, interval_s=0.1)
    assert (shown().open_waves, shown().waves[1].held) == (2, 0)
    other_vehicle.update(shared_cloud, second.job_id, "CONFIRMING", seq=1)
    # and: a soft abort leaves alone what has begun
    aborted = ota_pb2.CancelCampaignRequest(campaign_id=campaign_id, only_not_begun=True)
    with pytest.raises(grpc.RpcError) as refused:
        operator.CancelCampaign(aborted, timeout=CALL_S)
    assert "can no longer be canceled" in words_of(refused.value)
    states = operator.GetCampaign(ota_pb2.GetCampaignRequest(campaign_id=campaign_id), timeout=CALL_S).jobs
    assert [state_name(job.state) for job in states] == ["SUCCEEDED", "CONFIRMING"]


def test_failed_jobs_are_tried_again_in_a_campaign_of_their_own(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker
) -> None:
    for each in (vehicle, other_vehicle):
        each.register(shared_cloud)
        each.check_in(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, images()), conditions=["speed_km_h<=0"])
    request.vins.append(other_vehicle.vin)
    campaign = shared_cloud.create_campaign(request)
    operator = shared_cloud.operator
    retry = ota_pb2.RetryCampaignRequest(campaign_id=campaign.campaign_id)
    with pytest.raises(grpc.RpcError) as refused:
        operator.RetryCampaign(retry, timeout=CALL_S)
    assert "there is nothing to try again" in words_of(refused.value)
    # given: one vehicle fails, the other is at work
    first, second = campaign.jobs
    vehicle.update(shared_cloud, first.job_id, "CONFIRMING")
    vehicle.update(shared_cloud, first.job_id, "FAILED", reason="flat battery")
    other_vehicle.update(shared_cloud, second.job_id, "CONFIRMING")
    # when
    again = operator.RetryCampaign(retry, timeout=CALL_S)
    # then
    (job,) = again.jobs
    assert (job.vin, state_name(job.state)) == (vehicle.vin, "CREATED")
    assert again.campaign_id != campaign.campaign_id and again.created_by == campaign.created_by
    answer = vehicle.check_in(shared_cloud)
    assert (answer.decision, answer.job_id) == (ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE, job.job_id)
    # and: the vehicle is busy with it, so a repeated call makes no second one
    with pytest.raises(grpc.RpcError) as refused:
        operator.RetryCampaign(retry, timeout=CALL_S)
    assert "VEHICLE_BUSY" in words_of(refused.value)
