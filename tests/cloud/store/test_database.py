"""The database: whole transactions, foreign keys, a version, and tables that PostgreSQL accepts too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from otabench.cloud.errors import NotReady, StartError
from otabench.cloud.store.database import open_database
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


def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")

    with pytest.raises(IntegrityError):
        database.run_now(
            lambda session: session.add(EcuRow(vin="NOBODY", ecu="engine", position=0, serial="S", hardware_id="H"))
        )
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
