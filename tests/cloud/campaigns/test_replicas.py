"""Two replicas on one database: concurrent calls for one vehicle end well, and never in two open jobs."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, inventory, jobs, status_update
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.registration import check_registration
from otabench.cloud.control.operator import Operator
from otabench.cloud.errors import InvalidRequest, NotAllowed
from otabench.cloud.store.artifact_store import open_store
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import IS_OPEN, JobRow, ManifestRow, OutboxRow, TransitionRow
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.keys import load_director_keys, load_image_public_key
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.job_states import JobState
from tests.cloud.bench import ENGINE, ImageMaker, Vehicle, campaign_request, state_name


@dataclass
class Replica:
    """One control plane, without its port."""

    database: Database
    orchestrator: Orchestrator
    manifests: ManifestMaker


@contextmanager
def two_replicas(url: str, keys_dir: Path, folder: Path) -> Iterator[tuple[Replica, Replica]]:
    with ExitStack() as stack:
        yield _replica(stack, url, keys_dir, folder), _replica(stack, url, keys_dir, folder)


def _replica(stack: ExitStack, url: str, keys_dir: Path, folder: Path) -> Replica:
    database = open_database(url)
    stack.callback(database.close)
    artifacts = ArtifactMaker(
        database=database,
        store=open_store(f"file://{folder}/store"),
        private_store=open_store(f"file://{folder}/private"),
    )
    announcer = Announcer(trace=None, notify_outbox=lambda: None)
    stack.callback(artifacts.close)
    maker = ManifestMaker(
        database=database, artifacts=artifacts, director=Director(load_director_keys(keys_dir)), announcer=announcer
    )
    orchestrator = Orchestrator(
        database=database,
        artifacts=artifacts,
        manifests=maker,
        image_key=load_image_public_key(keys_dir),
        announcer=announcer,
        publication=Publication(database, None),
        messages_per_s=200,
    )
    return Replica(database, orchestrator, maker)


def register(database: Database, fleet: list[Vehicle]) -> None:
    def add(session: Session) -> None:
        for vehicle in fleet:
            request = ota_pb2.RegisterVehicleRequest(
                vin=vehicle.vin,
                ecus=[
                    ota_pb2.RegisterVehicleRequest.Ecu(ecu=name, serial=vehicle.serial(name), hardware_id=hardware)
                    for name, hardware in vehicle.hardware.items()
                ],
            )
            inventory.register(session, vehicle.vin, check_registration(request))

    database.run_now(add)


@pytest.mark.parametrize("vehicles", [8, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_two_campaigns_for_one_vehicle_at_once_give_it_one_open_job(
    each_database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker, vehicles: int
) -> None:
    fleet = [Vehicle(f"VIN{number:04d}") for number in range(vehicles)]
    with two_replicas(each_database_url, keys_dir, tmp_path) as replicas:
        register(replicas[0].database, fleet)

        async def create_by_both() -> list[object]:
            calls = [
                replica.orchestrator.create_campaign(campaign_request(vehicle, (ENGINE, images())))
                for vehicle, replica in itertools.product(fleet, replicas)
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

        answers = asyncio.run(create_by_both())

        open_jobs = replicas[0].database.run_now(
            lambda session: session.execute(select(JobRow.vin, func.count()).where(text(IS_OPEN)).group_by(JobRow.vin))
        )
        assert {vin: number for vin, number in open_jobs} == {vehicle.vin: 1 for vehicle in fleet}  # noqa: C416
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        assert len(refused) == vehicles
        assert all(isinstance(error, NotAllowed) for error in refused), Counter(map(repr, refused))
        assert all("BUSY" in str(error) for error in refused)


@pytest.mark.parametrize("made_before", [0, 10])
def test_a_large_campaign_is_returned_before_its_manifests_and_outlives_its_process(
    each_database_url: str,
    keys_dir: Path,
    tmp_path: Path,
    images: ImageMaker,
    monkeypatch: pytest.MonkeyPatch,
    made_before: int,
) -> None:
    """``made_before``: how many manifests the process makes before it is killed."""
    fleet = [Vehicle(f"VIN{number:04d}") for number in range(12)]
    request = campaign_request(fleet[0], (ENGINE, images()))
    request.vins[:] = [vehicle.vin for vehicle in fleet]

    def manifests_made(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(ManifestRow)) or 0

    def report(session: Session) -> list[int]:
        reports = [ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports()) for vehicle in fleet]
        return [
            check_in.judge(session, each, is_signed_now=lambda _: True, now=time.time()).decision for each in reports
        ]

    with two_replicas(each_database_url, keys_dir, tmp_path) as (first, second):
        register(first.database, fleet)
        first.database.run_now(report)
        died = asyncio.Event()
        prepare_all = first.manifests.prepare_all

        async def prepare_and_die(campaign_id: str, jobs_of: Sequence[tuple[str, str]]) -> None:
            if made_before:
                await prepare_all(campaign_id, jobs_of)
            # It cancels this task, at the next await.
            first.orchestrator.close()
            died.set()
            await asyncio.sleep(0)

        async def create_and_die() -> None:
            await first.orchestrator.create_campaign(request)
            async with asyncio.timeout(60):
                await died.wait()
            assert await first.database.run(manifests_made) == made_before

        monkeypatch.setattr(first.manifests, "prepare_all", prepare_and_die)
        asyncio.run(create_and_die())

        async def go_on() -> None:
            # given: the next process wakes the vehicles, whose check-ins make the manifests
            await second.orchestrator.wake_waiting()
            woken = await second.database.run(lambda session: set(session.scalars(select(OutboxRow.topic))))
            assert {f"otabench/v1/vehicles/{vehicle.vin}/update-available" for vehicle in fleet} <= woken
            open_jobs = await second.database.run(
                lambda session: session.execute(select(JobRow.job_id, JobRow.vin)).all()
            )
            for job_id, vin in open_jobs:
                await second.manifests.prepare(job_id, vin=vin)
            assert set(await second.database.run(report)) == {check_in.UPDATE_AVAILABLE}

        asyncio.run(go_on())
        assert second.database.run_now(manifests_made) >= len(fleet)


def test_repeated_calls_with_one_request_id_create_one_campaign(
    database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    vehicle = Vehicle("VIN1")
    request = campaign_request(vehicle, (ENGINE, images()), request_id="4f1c-1")
    with two_replicas(database_url, keys_dir, tmp_path) as replicas:
        register(replicas[0].database, [vehicle])

        async def create_by_both() -> set[str]:
            calls = [replica.orchestrator.create_campaign(request) for replica in replicas * 3]
            answers = {campaign.campaign_id for campaign in await asyncio.gather(*calls)}
            answers.add((await replicas[1].orchestrator.create_campaign(request)).campaign_id)
            changed = campaign_request(vehicle, (ENGINE, images()), request_id="4f1c-1", encrypt=True)
            with pytest.raises(InvalidRequest, match="another request"):
                await replicas[0].orchestrator.create_campaign(changed)
            unsafe = campaign_request(vehicle, (ENGINE, images()), request_id="a/b")
            with pytest.raises(InvalidRequest, match="request_id"):
                await replicas[0].orchestrator.create_campaign(unsafe)
            return answers

        assert len(asyncio.run(create_by_both())) == 1
        assert (
            replicas[0].database.run_now(lambda session: session.scalar(select(func.count()).select_from(JobRow))) == 1
        )


def test_a_watcher_of_one_replica_sees_what_the_other_changes(
    database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    vehicle = Vehicle("VIN1")
    with two_replicas(database_url, keys_dir, tmp_path) as (ours, theirs):
        register(ours.database, [vehicle])

        async def watch() -> list[str]:
            campaign = await theirs.orchestrator.create_campaign(campaign_request(vehicle, (ENGINE, images())))
            operator = Operator(
                database=ours.database,
                orchestrator=ours.orchestrator,
                announcer=Announcer(trace=None, notify_outbox=lambda: None),
                publication=Publication(ours.database, None),
                tls=False,
            )
            server = grpc.aio.server()
            ota_pb2_grpc.add_OperatorServicer_to_server(operator, server)  # type: ignore[no-untyped-call]
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            states = []
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = ota_pb2_grpc.OperatorStub(channel)  # type: ignore[no-untyped-call]
                request = ota_pb2.GetCampaignRequest(campaign_id=campaign.campaign_id)
                async for seen in stub.WatchCampaign(request, timeout=30):
                    states.append(state_name(seen.jobs[0].state))
                    await theirs.database.run(
                        lambda session: jobs.cancel(session, campaign.campaign_id, reason="", now=time.time())
                    )
            await server.stop(None)
            return states

        assert asyncio.run(watch()) == ["CREATED", "CANCELED"]


def test_equal_reports_and_check_ins_at_once_end_well(
    each_database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    vehicle = Vehicle("VIN1")
    check_in_request = ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports())
    with two_replicas(each_database_url, keys_dir, tmp_path) as replicas:
        register(replicas[0].database, [vehicle])

        async def tell_both() -> None:
            campaign = await replicas[0].orchestrator.create_campaign(campaign_request(vehicle, (ENGINE, images())))
            job_id = campaign.jobs[0].job_id

            def judge(session: Session) -> check_in.CheckInOutcome:
                return check_in.judge(session, check_in_request, is_signed_now=lambda _: True, now=time.time())

            # both make the first manifest
            await asyncio.gather(*(each.database.run(judge) for each in replicas * 5))
            await asyncio.gather(*(each.manifests.prepare(job_id, vin=vehicle.vin) for each in replicas))
            outcomes = await asyncio.gather(*(each.database.run(judge) for each in replicas * 5))
            assert {outcome.decision for outcome in outcomes} == {check_in.UPDATE_AVAILABLE}
            for number, state in enumerate((JobState.CONFIRMING, JobState.WAITING_FOR_APPROVAL), start=1):
                report = ota_pb2.UpdateStatusRequest(vin=vehicle.vin, job_id=job_id, transition_seq=number)

                def apply(
                    session: Session, report: ota_pb2.UpdateStatusRequest = report, state: JobState = state
                ) -> status_update.UpdateOutcome:
                    return status_update.apply(session, report, reported=state, now=time.time())

                applied = await asyncio.gather(*(each.database.run(apply) for each in replicas * 5))
                assert {outcome.state for outcome in applied} == {state}
                assert sum(outcome.transition is not None for outcome in applied) == 1

        asyncio.run(tell_both())

        def rows(session: Session) -> tuple[list[tuple[int, str]], list[int]]:
            moves = session.execute(select(TransitionRow.number, TransitionRow.after).order_by(TransitionRow.number))
            versions = session.scalars(select(ManifestRow.version).order_by(ManifestRow.version))
            return [(number, after) for number, after in moves], list(versions)

        moves, versions = replicas[1].database.run_now(rows)
        assert moves == [(1, "CONFIRMING"), (2, "WAITING_FOR_APPROVAL")]
        assert versions == list(range(1, len(versions) + 1))
