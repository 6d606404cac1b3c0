"""A condition on a list: the rows of those texts, one statement on PostgreSQL, and no table that SQLite reads as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, create_engine, event, select

from otabench.cloud.campaigns import jobs, snapshots, status_writer
from otabench.cloud.store.database import open_database
from otabench.cloud.store.in_list import in_list
from otabench.cloud.store.schema import Base, VehicleRow

_vin = Base.metadata.tables[VehicleRow.__tablename__].c.vin
_WANTED = select(_vin).where(in_list(_vin, "vins")).order_by(_vin)
VINS = ["VIN1", "VIN'2", 'VIN"3', "VIN\\4", "VIN,5", "VIN{6}", "VIN\u00e4"]


def test_the_rows_are_those_of_the_texts_and_postgresql_has_one_statement(each_database_url: str) -> None:
    database = open_database(each_database_url)
    database.run_now(lambda session: session.add_all([VehicleRow(vin=vin) for vin in VINS]))
    database.close()
    engine = create_engine(each_database_url)
    statements: set[str] = set()
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.add(arguments[2]))

    with engine.connect() as connection:
        for number in range(len(VINS) + 1):
            wanted = VINS[:number]
            found = connection.execute(_WANTED, {"vins": [*wanted, "ABSENT"]}).scalars().all()
            assert sorted(found) == sorted(wanted)
        assert connection.execute(_WANTED, {"vins": []}).all() == []

    assert engine.dialect.name == "sqlite" or len(statements) == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (snapshots._WITH_REPORTS, "vins"),
        (snapshots._VEHICLES, "vins"),
        (snapshots._MANIFESTS, "job_ids"),
        (status_writer._READ, "job_ids"),
        (jobs._LOCK, "vins"),
    ],
)
def test_sqlite_finds_what_the_hot_path_reads_by_indexes(
    tmp_path: Path, statement: Select[tuple[object, ...]], name: str
) -> None:
    url = f"sqlite:///{tmp_path}/cloud.db"
    open_database(url).close()
    engine = create_engine(url)
    plan: list[str] = []

    def explain(_connection: object, cursor: Any, sql: str, values: Any, _context: object, _many: bool) -> None:
        rows = cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        plan.extend(row[3] for row in rows)

    event.listen(engine, "before_cursor_execute", explain)
    with engine.connect() as connection:
        connection.execute(statement, {name: ["a", "b", "c"]}).all()
    engine.dispose()

    scanned = {words[1] for words in map(str.split, plan) if words[0] == "SCAN"}
    assert plan
    assert scanned & Base.metadata.tables.keys() == set(), plan


@pytest.mark.parametrize("vins", [["VIN1"], ("VIN1",)])
def test_any_sequence_may_be_the_list(each_database_url: str, vins: list[str] | tuple[str, ...]) -> None:
    database = open_database(each_database_url)
    database.run_now(lambda session: session.add(VehicleRow(vin="VIN1")))

    found = database.run_now(lambda session: session.connection().execute(_WANTED, {"vins": vins}).scalars().all())

    assert found == ["VIN1"]
    database.close()
