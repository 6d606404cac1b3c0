"""PostgreSQL that restarts, and what SQLite does not refuse; and how many statements the most frequent call takes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, func, select, text
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in
from otabench.cloud.campaigns.check_in_reader import CheckInReader
from otabench.cloud.errors import InvalidRequest, NotReady
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import VehicleRow
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.keys import load_director_keys
from otabench.proto import ota_pb2
from tests.cloud.bench import Vehicle
from tests.cloud.campaigns.test_replicas import register
from tests.cloud.postgres import PostgreSQL


@pytest.mark.postgresql
def test_a_server_that_restarts_is_used_again(postgresql: PostgreSQL) -> None:
    database = open_database(postgresql.new_database())
    database.run_now(lambda session: session.add(VehicleRow(vin="VIN1")))

    postgresql.stop()
    try:
        with pytest.raises(NotReady) as caught:
            asyncio.run(database.check())
        assert "SELECT" not in str(caught.value)
    finally:
        postgresql.start()

    asyncio.run(database.check())
    assert database.run_now(lambda session: session.get(VehicleRow, "VIN1")) is not None
    database.close()


@pytest.mark.postgresql
def test_work_on_a_connection_that_has_broken_is_done_on_another(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    database, other = open_database(url), open_database(url)

    async def use() -> None:
        await database.run(lambda session: session.add(VehicleRow(vin="VIN1")))
        await other.run(break_all_connections)
        await database.run(lambda session: session.add(VehicleRow(vin="VIN2")))
        await other.run(break_all_connections)
        found = await database.read(lambda session: session.scalars(select(VehicleRow.vin)).all())
        await other.run(break_all_connections)
        rows = await database.read_rows(lambda connection: connection.scalar(select(func.count(VehicleRow.vin))))
        assert (sorted(found), rows) == (["VIN1", "VIN2"], 2)

    asyncio.run(use())
    database.close()
    other.close()


@pytest.mark.postgresql
def test_work_whose_commit_breaks_is_not_done_again(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    database, other = open_database(url), open_database(url)
    begun: list[str] = []

    def work(session: Session) -> None:
        begun.append("work")
        session.add(VehicleRow(vin="VIN1"))
        session.flush()
        # The next that the connection is used for is the commit. Nobody would know whether the server has done it.
        other.run_now(break_all_connections)

    with pytest.raises(NotReady):
        database.run_now(work)

    assert begun == ["work"]
    database.close()
    other.close()


def break_all_connections(session: Session) -> None:
    """Let the server close all connections but this one."""
    others = text(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    session.execute(others).all()


@pytest.mark.postgresql
def test_text_that_the_server_cannot_hold_is_the_callers_fault(postgresql: PostgreSQL) -> None:
    database = open_database(postgresql.new_database())

    with pytest.raises(InvalidRequest, match="cannot be stored"):
        database.run_now(lambda session: session.add(VehicleRow(vin="VIN\0")))

    database.close()


def test_a_check_in_with_nothing_to_do_takes_few_statements(tmp_path: Path, keys_dir: Path) -> None:
    url = f"sqlite:///{tmp_path}/cloud.db"
    vehicle = Vehicle("VIN1")
    prepared = open_database(url)
    register(prepared, [vehicle])
    prepared.close()
    engine = create_engine(url)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    database = Database(engine)
    request = ota_pb2.CheckInRequest(vin=vehicle.vin, ecus=vehicle.reports())

    def judge(session: Session) -> check_in.CheckInOutcome:
        return check_in.judge(session, request, is_signed_now=lambda _: True, now=time.time())

    database.run_now(judge)  # the first report is written
    statements.clear()

    assert database.run_now(judge).decision == check_in.NO_UPDATE

    # the vehicle with its ECUs and its open job; the rows of the report
    assert len(statements) == 2, statements

    # and: many check-ins at once take one, on the short way
    statements.clear()
    director = Director(load_director_keys(keys_dir))

    async def check_in_at_once() -> list[check_in.CheckInOutcome | None]:
        reader = CheckInReader(database, director)
        return await asyncio.gather(*(reader.judge(request) for _ in range(50)))

    assert {outcome.decision for outcome in asyncio.run(check_in_at_once()) if outcome} == {check_in.NO_UPDATE}
    assert [each.partition(" ")[0] for each in statements] == ["SELECT"], statements
    database.close()
