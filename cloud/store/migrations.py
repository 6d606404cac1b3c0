"""Bring the tables of an older database up to the present version, step by step.

* ``database.open_database`` calls ``migrate`` inside one transaction. A process that is killed meanwhile leaves the old tables.
* A step's SQL never changes after its release, so it does not use the classes of ``schema``, which do change.
* A test compares a migrated database with a new one.

Alembic makes the statements for each kind of database; the version is in this project's own table ``schema_version``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

OLDEST_VERSION: Final = 5
"""Databases of this version and later can be migrated."""


def migrate(connection: sa.Connection, *, version: int, target: int) -> None:
    """Change the tables from ``version``, which is ``OLDEST_VERSION`` or later, to ``target``, inside the caller's transaction."""
    operations = Operations(MigrationContext.configure(connection))
    for number in range(version + 1, target + 1):
        _STEPS[number](operations)
        operations.execute(sa.text("UPDATE schema_version SET version = :number").bindparams(number=number))


def _to_6(operations: Operations) -> None:
    """Allow one open job for each vehicle, add the outbox, and add the driver's texts to campaigns."""
    is_open = "state NOT IN ('CANCELED', 'FAILED', 'REJECTED', 'ROLLED_BACK', 'SUCCEEDED', 'TIMED_OUT')"
    connection = operations.get_bind()
    _end_surplus_jobs(connection, is_open)
    operations.create_index(
        "one_open_job_per_vehicle",
        "jobs",
        ["vin"],
        unique=True,
        sqlite_where=sa.text(is_open),
        postgresql_where=sa.text(is_open),
    )
    operations.create_table(
        "outbox",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("claimed_until", sa.Double, nullable=False),
    )
    # For a short time databases with this column were made as version 5, too.
    if "texts" not in {column["name"] for column in sa.inspect(connection).get_columns("campaigns")}:
        operations.add_column("campaigns", sa.Column("texts", sa.Text, nullable=False, server_default="{}"))


def _end_surplus_jobs(connection: sa.Connection, is_open: str) -> None:
    """Cancel all open jobs of a vehicle but one, which two replicas could make before. Keep the one that has changed last."""
    rows = connection.execute(
        sa.text(f"SELECT job_id, vin, state, updated_at FROM jobs WHERE {is_open} ORDER BY updated_at DESC")
    )
    kept: set[str] = set()
    for job_id, vin, state, updated_at in rows.all():
        if vin not in kept:
            kept.add(vin)
            continue
        ended = {"job_id": job_id, "reason": "canceled by a newer cloud: the vehicle had another open job"}
        connection.execute(
            sa.text("UPDATE jobs SET state = 'CANCELED', reason = :reason WHERE job_id = :job_id"), ended
        )
        last = connection.scalar(
            sa.text("SELECT max(number) FROM transitions WHERE job_id = :job_id"), {"job_id": job_id}
        )
        connection.execute(
            sa.text("INSERT INTO transitions VALUES (:job_id, :number, :before, 'CANCELED', :reason, :at)"),
            {**ended, "number": (last or 0) + 1, "before": state, "at": updated_at},
        )


def _to_7(operations: Operations) -> None:
    """Add the Image repository's metadata."""
    operations.create_table(
        "image_metadata",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def _to_8(operations: Operations) -> None:
    """Add the ids of requests to campaigns."""
    operations.add_column("campaigns", sa.Column("request_id", sa.String(64)))
    operations.add_column("campaigns", sa.Column("request_sha256", sa.String(64), nullable=False, server_default=""))
    operations.create_index("ix_campaigns_request_id", "campaigns", ["request_id"], unique=True)


def _to_9(operations: Operations) -> None:
    """Add the rules for the driver's decision to campaigns."""
    operations.add_column("campaigns", sa.Column("driver_rules", sa.Text, nullable=False, server_default="{}"))


def _to_10(operations: Operations) -> None:
    """Add the vehicles that a campaign left out."""
    operations.add_column("campaigns", sa.Column("excluded", sa.Text, nullable=False, server_default="[]"))


def _to_11(operations: Operations) -> None:
    """Add version reports: keys, nonces and counters."""
    added: dict[str, list[sa.Column[Any]]] = {
        "vehicles": [
            sa.Column("gateway_key", sa.String(64), nullable=False, server_default=""),
            sa.Column("report_nonce", sa.String(64), nullable=False, server_default=""),
            sa.Column("nonce_expires_at", sa.Double, nullable=False, server_default="0"),
            sa.Column("used_nonce", sa.String(64), nullable=False, server_default=""),
            sa.Column("used_report_sha256", sa.String(64), nullable=False, server_default=""),
            sa.Column("dropped_reports", sa.Integer, nullable=False, server_default="0"),
            sa.Column("dropped_reason", sa.Text, nullable=False, server_default=""),
            sa.Column("two_reporters", sa.Boolean, nullable=False, server_default=sa.false()),
        ],
        "ecus": [
            sa.Column("report_key", sa.String(64), nullable=False, server_default=""),
            sa.Column("report_counter", sa.BigInteger, nullable=False, server_default="0"),
        ],
        "jobs": [sa.Column("unproven", sa.Integer, nullable=False, server_default="0")],
    }
    for table, columns in added.items():
        for column in columns:
            operations.add_column(table, column)


def _to_12(operations: Operations) -> None:
    """Add who created and who approved a campaign, and the jobs that wait for that."""
    operations.add_column("campaigns", sa.Column("created_by", sa.Text, nullable=False, server_default=""))
    operations.add_column(
        "campaigns", sa.Column("needs_approval", sa.Boolean, nullable=False, server_default=sa.false())
    )
    operations.add_column("campaigns", sa.Column("approved_by", sa.Text, nullable=False, server_default=""))
    operations.add_column("campaigns", sa.Column("approved_at", sa.Double, nullable=False, server_default="0"))
    operations.add_column("jobs", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))


def _to_13(operations: Operations) -> None:
    """Add the RXSWIN to images."""
    operations.add_column("images", sa.Column("rxswin", sa.String(64), nullable=False, server_default=""))
    operations.create_index("ix_images_rxswin", "images", ["rxswin"])


def _to_14(operations: Operations) -> None:
    """Add roll-outs to campaigns, and the wave to jobs."""
    operations.add_column("campaigns", sa.Column("rollout", sa.Text, nullable=False, server_default=""))
    operations.add_column("campaigns", sa.Column("rollout_progress", sa.Text, nullable=False, server_default=""))
    operations.add_column("campaigns", sa.Column("rollout_open", sa.Boolean, nullable=False, server_default=sa.false()))
    operations.add_column("jobs", sa.Column("wave", sa.Integer, nullable=False, server_default="0"))
    operations.add_column("jobs", sa.Column("opened_at", sa.Double, nullable=False, server_default="0"))


def _to_15(operations: Operations) -> None:
    """Add attributes to vehicles."""
    operations.add_column("vehicles", sa.Column("attributes", sa.Text, nullable=False, server_default="{}"))


_STEPS: Final[Mapping[int, Callable[[Operations], None]]] = {
    6: _to_6,
    7: _to_7,
    8: _to_8,
    9: _to_9,
    10: _to_10,
    11: _to_11,
    12: _to_12,
    13: _to_13,
    14: _to_14,
    15: _to_15,
}
