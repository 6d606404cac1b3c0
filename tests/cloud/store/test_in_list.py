"""A condition on a list: the same statement for any length, and the rows of those texts."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, event, select

from otabench.cloud.store.database import open_database
from otabench.cloud.store.in_list import in_list
from otabench.cloud.store.schema import Base, VehicleRow

_vin = Base.metadata.tables[VehicleRow.__tablename__].c.vin
_WANTED = select(_vin).where(in_list(_vin, "vins")).order_by(_vin)
VINS = ["VIN1", "VIN'2", 'VIN"3', "VIN\\4", "VIN,5", "VIN{6}", "VIN\u00e4"]


def test_every_length_is_the_same_statement_with_its_own_rows(each_database_url: str) -> None:
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

    assert len(statements) == 1
    engine.dispose()


@pytest.mark.parametrize("vins", [["VIN1"], ("VIN1",)])
def test_any_sequence_may_be_the_list(each_database_url: str, vins: list[str] | tuple[str, ...]) -> None:
    database = open_database(each_database_url)
    database.run_now(lambda session: session.add(VehicleRow(vin="VIN1")))

    found = database.run_now(lambda session: session.connection().execute(_WANTED, {"vins": vins}).scalars().all())

    assert found == ["VIN1"]
    database.close()
