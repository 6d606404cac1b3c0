"""The database: whole transactions, foreign keys, a version, and tables that PostgreSQL accepts too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from otabench.cloud.errors import Conflict, NotReady, StartError
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import Base, EcuRow, VehicleRow


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/new/folder/cloud.db")

    def fail(session: Session) -> None:
        session.add(VehicleRow(vin="VIN1"))
        session.flush()
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        asyncio.run(database.run(fail))

    assert asyncio.run(database.run(lambda session: session.get(VehicleRow, "VIN1"))) is None
    database.close()


def test_the_files_of_the_database_are_their_owners_only(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    database.run_now(lambda session: session.add(VehicleRow(vin="VIN1")))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert "cloud.db-wal" in modes
    assert set(modes.values()) == {0o600}
    database.close()


def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")

    with pytest.raises(Conflict) as caught:
        database.run_now(
            lambda session: session.add(EcuRow(vin="NOBODY", ecu="engine", position=0, serial="S", hardware_id="H"))
        )
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert "INSERT" not in str(caught.value), "SQL stays in the cloud"
    database.close()


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cloud.db"
    open_database(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()

    with pytest.raises(StartError, match="another version"):
        open_database(url)


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cloud.db").write_text("this is not a database, but it is long enough to look at" * 20)

    with pytest.raises(StartError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/cloud.db")


def test_a_database_that_goes_away_is_reported_as_not_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cloud.db"
    database = open_database(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE vehicles"))
    engine.dispose()

    with pytest.raises(NotReady, match="vehicles"):
        database.run_now(lambda session: session.get(VehicleRow, "VIN1"))
    database.close()


def test_all_tables_can_be_made_on_postgresql() -> None:
    for table in Base.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_a_conflict_is_tried_again_once(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    attempts = []

    def insert_twice_at_first(session: Session) -> None:
        attempts.append(1)
        session.add(VehicleRow(vin="VIN1"))
        session.flush()
        if len(attempts) == 1:
            session.execute(insert(VehicleRow).values(vin="VIN1"))

    database.run_now(insert_twice_at_first)

    assert len(attempts) == 2
    assert database.run_now(lambda session: session.get(VehicleRow, "VIN1")) is not None
    database.close()


def test_a_corrupt_database_is_reported_without_sql(tmp_path: Path) -> None:
    path = tmp_path / "cloud.db"
    database = open_database(f"sqlite:///{path}")
    database.run_now(lambda session: session.add(VehicleRow(vin="VIN1")))
    database.close()
    content = bytearray(path.read_bytes())
    # All pages after the first, which holds the list of tables.
    content[4096:] = bytes([0xA5]) * (len(content) - 4096)
    path.write_bytes(content)
    database = Database(create_engine(f"sqlite:///{path}"))

    with pytest.raises(NotReady) as caught:
        asyncio.run(database.run(lambda session: session.get(VehicleRow, "VIN1")))

    assert "SELECT" not in str(caught.value)
    assert "cannot be used" in str(caught.value)
    with pytest.raises(NotReady):
        asyncio.run(database.check())
    database.close()


def test_two_processes_on_one_file_wait_for_each_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cloud.db"
    ours, theirs = open_database(url), open_database(url)
    ours.run_now(lambda session: session.add_all([VehicleRow(vin=f"VIN{number}") for number in range(3)]))

    def count_and_add(session: Session) -> None:
        number = session.scalar(select(func.count()).select_from(VehicleRow))
        session.add(VehicleRow(vin=f"VIN{number}"))

    async def add_by_both() -> None:
        await asyncio.gather(*(database.run(count_and_add) for database in (ours, theirs) for _ in range(10)))

    asyncio.run(add_by_both())

    # Each transaction counted what the one before had added: no number was used twice.
    assert ours.run_now(lambda session: session.scalar(select(func.count()).select_from(VehicleRow))) == 23
    ours.close()
    theirs.close()
