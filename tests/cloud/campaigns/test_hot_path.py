"""The short ways of check-ins and progress give what the long ways give: the same answer, and the same rows afterwards.

Every situation of a vehicle meets every kind of message. ``check_in.judge`` and ``status_update.apply`` are the long ways.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, inventory, jobs, snapshots, status_update, status_writer
from otabench.cloud.campaigns.check_in_reader import CheckInReader
from otabench.cloud.campaigns.job_rules import Effect
from otabench.cloud.campaigns.status_writer import StatusWriter
from otabench.cloud.errors import InvalidRequest, RequestError
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import (
    Base,
    EcuRow,
    JobRow,
    ManifestRow,
    OutboxRow,
    TransitionRow,
    VehicleRow,
)
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.keys import load_director_keys
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, TRANSITIONS, JobState, to_wire
from tests.cloud.bench import ENGINE, ImageMaker, Vehicle, campaign_request, plain_campaign
from tests.cloud.campaigns.test_replicas import Replica, register, two_replicas

# All final states are alike.
STATES = [state for state in JobState if state not in FINAL_STATES or state is JobState.SUCCEEDED]
SITUATIONS = (
    "free",
    "created",
    "made",
    "offered",
    "noted",
    "cancel asked",
    "expired",
    "other keys",
    "nonce",
    "old nonce",
    *JobState,
)


_WRITTEN = (VehicleRow, EcuRow, JobRow, TransitionRow, OutboxRow)


class RolledBack(Exception):
    """Ends a transaction without its changes."""


@contextmanager
def rolled_back(database: Database) -> Iterator[Callable[[Callable[[Session], Any]], Any]]:
    """Yield a function that runs work in a transaction, and returns its result and the rows after it, which are then undone."""

    def run(work: Callable[[Session], Any]) -> tuple[Any, list[tuple[Any, ...]]]:
        seen: list[Any] = []

        def work_and_look(session: Session) -> None:
            try:
                seen.append(work(session))
            except RequestError as error:
                seen.append(error)
            session.flush()
            seen.append(rows_of(session))
            raise RolledBack

        with pytest.raises(RolledBack):
            database.run_now(work_and_look)
        return seen[-2], seen[-1]

    yield run


def rows_of(session: Session) -> list[tuple[Any, ...]]:
    """Return all rows of the tables that check-ins and reports may write.

    Without numbers that the database gives: PostgreSQL does not give those again that a rolled-back transaction had.
    """
    return [
        (table.name, *row)
        for table in (Base.metadata.tables[each.__tablename__] for each in _WRITTEN)
        for row in session.execute(
            select(*(column for column in table.columns if column is not table.autoincrement_column)).order_by(
                *table.primary_key.columns
            )
        )
    ]


def settle(replica: Replica, fleet: dict[str, Vehicle], images: ImageMaker) -> dict[str, str]:
    """Register a vehicle for each situation and bring it there. Return the jobs by situation."""
    register(replica.database, list(fleet.values()))
    busy = {situation: vehicle for situation, vehicle in fleet.items() if situation != "free"}

    def report(session: Session) -> None:
        for vehicle in fleet.values():
            inventory.record(session, vehicle.vin, vehicle.reports())

    replica.database.run_now(report)
    request = campaign_request(fleet["free"], (ENGINE, images()))
    request.vins[:] = [vehicle.vin for vehicle in busy.values()]
    campaign = asyncio.run(replica.orchestrator.create_campaign(request))
    # A large campaign's manifests are made later: make them now.
    asyncio.run(replica.manifests.prepare_all(campaign.campaign_id, [(job.job_id, job.vin) for job in campaign.jobs]))
    job_ids = dict(zip(busy, (job.job_id for job in campaign.jobs), strict=True))
    changes: dict[str, dict[str, Any]] = {
        "offered": {"offered": True},
        "noted": {"offered": True, "reason": "a note"},
        "cancel asked": {"offered": True, "cancel_asked": True, "cancel_reason": "stop"},
        "expired": {"offered": True},
        "other keys": {"offered": True},
        "nonce": {"offered": True},
        "old nonce": {"offered": True},
        **{state: {"state": state, "offered": True, "taken_seq": 2} for state in STATES},
    }

    def bring(session: Session) -> None:
        for situation, values in changes.items():
            session.execute(update(JobRow).where(JobRow.job_id == job_ids[situation]).values(**values))
        session.execute(ManifestRow.__table__.delete().where(ManifestRow.job_id == job_ids["created"]))  # type: ignore[attr-defined]
        session.execute(update(ManifestRow).where(ManifestRow.job_id == job_ids["expired"]).values(expires_at=1.0))
        for situation, expires_at in (("nonce", 1e12), ("old nonce", 1.0)):
            keys = {"gateway_key": "ab", "report_nonce": "cd", "nonce_expires_at": expires_at}
            session.execute(update(VehicleRow).where(VehicleRow.vin == fleet[situation].vin).values(**keys))
        unsigned = b'{"signatures": [{"keyid": "x"}]}'
        other = update(ManifestRow).where(ManifestRow.job_id == job_ids["other keys"])
        session.execute(other.values(timestamp=unsigned, snapshot=unsigned, targets=unsigned))

    replica.database.run_now(bring)
    return job_ids


def check_ins(vehicle: Vehicle, job_id: str) -> dict[str, ota_pb2.CheckInRequest]:
    """Return a check-in of each kind."""
    newer = Vehicle(vehicle.vin, versions={"engine": "1.5.0", "adas": "1.0.0"})
    other = Vehicle(vehicle.vin, hardware={"engine": "another", "adas": vehicle.hardware["adas"]})
    stranger = Vehicle(vehicle.vin, hardware={"radio": "x"}, versions={"radio": "1"}, counters={"radio": 1})
    reports = {"same": vehicle, "newer": newer, "other hardware": other, "unknown ECU": stranger}
    kinds = {name: each.reports() for name, each in reports.items()} | {"nothing": []}
    made = {name: ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=ecus) for name, ecus in kinds.items()}
    for name, named in (("its job", job_id), ("no such job", "job-x")):
        made[name] = ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports(), job_id=named)
    return made


def test_the_short_way_of_a_check_in_answers_as_the_long_way(
    each_database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    fleet = {situation: Vehicle(f"VIN{place:04d}") for place, situation in enumerate(SITUATIONS)}
    short: Counter[str] = Counter()
    with two_replicas(each_database_url, keys_dir, tmp_path) as (replica, _), rolled_back(replica.database) as run:
        job_ids = settle(replica, fleet, images)
        requests = [
            (situation, kind, request)
            for situation, vehicle in fleet.items()
            for kind, request in check_ins(vehicle, job_ids.get(situation, "job-none")).items()
        ]
        requests += [("unregistered", "same", ota_pb2.CheckInRequest(vin="VIN9999", ecus=fleet["free"].reports()))]

        director = Director(load_director_keys(keys_dir))
        is_signed_now = director.has_signed_with_present_keys

        async def read_all() -> list[check_in.CheckInOutcome | None]:
            reader = CheckInReader(replica.database, director)
            return await asyncio.gather(*(reader.read(request) for _, _, request in requests))

        now = time.time()
        before = replica.database.run_now(rows_of)
        for (situation, kind, request), answer in zip(requests, asyncio.run(read_all()), strict=True):
            if answer is None:
                continue
            short[situation] += 1
            after = before
            if answer.offers is not None:
                marked, after = run(partial(jobs.mark_offered, offers=[answer.offers], now=now))
                assert marked == {answer.job_id}
            long, long_after = run(partial(check_in.judge, request=request, is_signed_now=is_signed_now, now=now))
            assert (replace(answer, offers=None), after) == (long, long_after), (situation, kind)

    # and: the short way is taken for what a fleet sends all the time
    for situation in ("free", "made", "noted", "offered", "DOWNLOADING", "created", "SUCCEEDED", "unregistered"):
        assert short[situation], situation


def updates(vehicle: Vehicle, job_id: str) -> Iterator[tuple[str, JobState, ota_pb2.UpdateStatusRequest]]:
    """Yield a report of each kind in each state."""
    ecu = ota_pb2.EcuProgress(ecu="engine", phase="transferring", bytes_done=1, bytes_total=2)
    kinds: dict[str, dict[str, Any]] = {
        "progress": {"progress": [ecu], "transition_seq": 2},
        "later": {"progress": [ecu], "transition_seq": 3, "reason": "goes on"},
        "nothing": {"transition_seq": 1},
        "too much": {"progress": [ecu] * 3},
        "ecus": {"ecus": vehicle.reports(), "transition_seq": 2},
        "no such job": {"job_id": "job-x"},
    }
    for state in JobState:
        for kind, fields in kinds.items():
            given: dict[str, Any] = {"vin": vehicle.vin, "job_id": job_id, "state": to_wire(state)} | fields
            yield kind, state, ota_pb2.UpdateStatusRequest(**given)


def test_the_short_way_of_a_report_writes_as_the_long_way(
    database_url: str, keys_dir: Path, tmp_path: Path, images: ImageMaker
) -> None:
    fleet = {situation: Vehicle(f"VIN{place:04d}") for place, situation in enumerate(SITUATIONS)}
    now = time.time()
    short: Counter[str] = Counter()
    with two_replicas(database_url, keys_dir, tmp_path) as (replica, _), rolled_back(replica.database) as run:
        job_ids = settle(replica, fleet, images)
        before = replica.database.run_now(rows_of)
        for situation in ("cancel asked", "nonce", "old nonce", *STATES):
            for kind, state, request in updates(fleet[situation], job_ids[situation]):
                if not is_telling(situation, kind, state):
                    continue
                report = status_writer.Report(request, state)
                (outcome,), after = run(partial(status_writer.apply_reports, reports=[report], now=now))
                if outcome is None:
                    assert after == before, (situation, kind, state)
                    continue
                short[outcome.effect] += 1
                long, long_after = run(partial(status_update.apply, request=request, reported=state, now=now))
                assert (outcome, after) == (long, long_after), (situation, kind, state)
    assert set(short) == {Effect.PROGRESS, Effect.TRANSITION, Effect.REPEAT}


def is_telling(situation: str, kind: str, state: JobState) -> bool:
    """Return whether a report of this state is worth trying: the job's own, one that may follow, one that ends it, and an early one."""
    if kind in ("too much", "ecus", "version report", "no such job"):
        return state == situation
    own = JobState(situation) if situation in list(JobState) else JobState.CREATED
    following = next(iter(sorted(TRANSITIONS[own] - FINAL_STATES)), own)
    return state in (own, following, JobState.SUCCEEDED, JobState.CONFIRMING)


def test_one_vehicles_bad_text_does_not_harm_the_others(each_database_url: str, keys_dir: Path) -> None:
    vehicles = [Vehicle(f"VIN{number:04d}") for number in range(5)]
    database = open_database(each_database_url)
    register(database, vehicles)

    async def check_in_all() -> list[Any]:
        reader = CheckInReader(database, Director(load_director_keys(keys_dir)))
        requests = [ota_pb2.CheckInRequest(vin=vehicle.vin) for vehicle in vehicles]
        requests.insert(2, ota_pb2.CheckInRequest(vin="a\x00b"))
        return await asyncio.gather(*map(reader.judge, requests), return_exceptions=True)

    answers = asyncio.run(check_in_all())
    database.close()

    bad = answers.pop(2)
    assert {answer.decision for answer in answers} == {check_in.NO_UPDATE}
    # SQLite compares the text and finds nothing; PostgreSQL does not take it.
    assert isinstance(bad, InvalidRequest) or bad.decision == check_in.REFUSED


def test_concurrent_progress_of_one_job_is_written_once_and_whole(database_url: str) -> None:
    database = open_database(database_url)
    database.run_now(lambda session: add_jobs(session, 3))

    async def report_all() -> list[Any]:
        writer = StatusWriter(database)
        reports = [
            ota_pb2.UpdateStatusRequest(
                vin=f"VIN{number % 3}",
                job_id=f"job-{number % 3}",
                progress=[ota_pb2.EcuProgress(ecu="engine", bytes_done=number)],
            )
            for number in range(30)
        ]
        return await asyncio.gather(*(writer.apply(each, reported=JobState.DOWNLOADING) for each in reports))

    outcomes = asyncio.run(report_all())

    assert all(outcome.state is JobState.DOWNLOADING for outcome in outcomes)
    details = database.run_now(lambda session: session.scalars(select(JobRow.details).order_by(JobRow.vin)).all())
    assert [ota_pb2.Job.FromString(each).progress[0].bytes_done for each in details] == [27, 28, 29]
    database.close()


def test_many_vehicles_are_read_as_one_is(database_url: str) -> None:
    database = open_database(database_url)
    database.run_now(lambda session: add_jobs(session, 700))
    vins = [f"VIN{number}" for number in range(700)]

    together = database.run_now(lambda session: snapshots.load_vehicles(session, [*vins, "VIN-unknown"]))

    assert list(map(len, (together, vins))) == [700, 700]
    for vin in vins[::100]:
        assert together[vin] == database.run_now(partial(inventory.load_vehicle, vin=vin))
        assert together[vin].busy_state is JobState.DOWNLOADING
    database.close()


def add_jobs(session: Session, number: int) -> None:
    """Add vehicles with an engine, whose jobs are DOWNLOADING."""
    session.add(plain_campaign())
    session.flush()
    places = range(number)
    session.execute(insert(VehicleRow), [{"vin": f"VIN{place}"} for place in places])
    session.execute(
        insert(EcuRow),
        [
            {
                "vin": f"VIN{place}",
                "ecu": "engine",
                "position": 0,
                "serial": "1",
                "hardware_id": ENGINE,
                "image_number": 1,
            }
            for place in places
        ],
    )
    session.execute(
        insert(JobRow),
        [
            {
                "job_id": f"job-{place}",
                "campaign_id": "c",
                "vin": f"VIN{place}",
                "position": place,
                "state": JobState.DOWNLOADING,
                "updated_at": 1.0,
            }
            for place in places
        ],
    )


@pytest.mark.parametrize(
    "change", [{"cancel_asked": True}, {"reason": "another"}, {"state": "CONFIRMING"}, {"state": "CANCELED"}]
)
def test_a_job_that_changed_after_it_was_read_is_not_marked_as_offered(
    database_url: str, change: dict[str, Any]
) -> None:
    database = open_database(database_url)
    database.run_now(lambda session: add_jobs(session, 2))
    database.run_now(lambda session: session.execute(update(JobRow).values(state="CREATED")))
    offers = [
        snapshot.job
        for snapshot in database.run_now(
            lambda session: snapshots.load(session.connection(), ["VIN0", "VIN1"])
        ).values()
        if snapshot.job is not None
    ]
    database.run_now(lambda session: session.execute(update(JobRow).where(JobRow.vin == "VIN0").values(**change)))

    marked = database.run_now(partial(jobs.mark_offered, offers=offers, now=time.time()))

    assert marked == {"job-1"}
    offered = database.run_now(lambda session: session.scalars(select(JobRow.offered).order_by(JobRow.vin)).all())
    assert list(offered) == [False, True]
    database.close()
