"""A database of an older version is migrated at start: the tables become those of a new database, and the rows stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from otabench.cloud.store.database import open_database
from otabench.cloud.store.schema import SCHEMA_VERSION, Base

VERSION_5 = (Path(__file__).parent / "version_5.sql").read_text()
# By name, because the same statement runs before and after the migration, which adds columns.
JOB = (
    "INSERT INTO jobs (job_id, campaign_id, vin, position, state, reason, taken_seq, offered, cancel_asked, "
    "cancel_reason, details, updated_at) VALUES ('{}', 'campaign-1', '{}', 0, '{}', '', 0, {}, {}, '', '', {})"
)


def make_version_5(url: str) -> None:
    """Make a database as version 5 left it, with vehicles of which one has three open jobs."""
    is_sqlite = url.startswith("sqlite")
    tables = VERSION_5 if is_sqlite else VERSION_5.replace("DOUBLE", "DOUBLE PRECISION").replace("BLOB", "BYTEA")
    false = "0" if is_sqlite else "false"
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in tables.partition("\n")[2].split(";"):
            if statement.strip():
                connection.execute(text(statement))
        connection.execute(text("INSERT INTO schema_version VALUES (5)"))
        connection.execute(text("INSERT INTO vehicles VALUES ('VIN1'), ('VIN2')"))
        connection.execute(
            text(f"INSERT INTO campaigns VALUES ('campaign-1', '', '', 'auto', 0, 0, {false}, '[]', 0, 0)")
        )
        for job_id, vin, state, at in (
            ("job-old", "VIN1", "CREATED", 1),
            ("job-begun", "VIN1", "DOWNLOADING", 3),
            ("job-new", "VIN1", "CREATED", 2),
            ("job-ended", "VIN1", "SUCCEEDED", 4),
            ("job-other", "VIN2", "CREATED", 1),
        ):
            connection.execute(text(JOB.format(job_id, vin, state, false, false, at)))
    engine.dispose()


def test_an_older_database_is_migrated_and_equals_a_new_one(each_database_url: str) -> None:
    make_version_5(each_database_url)

    open_database(each_database_url).close()

    engine = create_engine(each_database_url)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.scalar(text("SELECT version FROM schema_version")) == SCHEMA_VERSION
        states = {row.job_id: row.state for row in connection.execute(text("SELECT job_id, state FROM jobs"))}
        assert states == {
            "job-begun": "DOWNLOADING",
            "job-old": "CANCELED",
            "job-new": "CANCELED",
            "job-ended": "SUCCEEDED",
            "job-other": "CREATED",
        }
        assert connection.scalar(text("SELECT count(*) FROM transitions WHERE after = 'CANCELED'")) == 2
        (index,) = (
            each for each in inspect(connection).get_indexes("jobs") if each["name"] == "one_open_job_per_vehicle"
        )
        assert index["unique"]
        # The comparison above does not look at the index's condition.
        false = "0" if each_database_url.startswith("sqlite") else "false"
        connection.execute(text(JOB.format("job-again", "VIN1", "FAILED", false, false, 5)))
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text(JOB.format("job-second", "VIN2", "VERIFYING", false, false, 5)))
    engine.dispose()


def test_a_second_start_changes_nothing(database_url: str) -> None:
    open_database(database_url).close()

    open_database(database_url).close()
