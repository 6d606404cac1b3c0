"""The fleet of the benchmark in the database, and the messages of its vehicles.

Vehicles are written to the database directly, because registering ten thousand by calls would take longer than all measurements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from otabench.cloud.store.database import open_database
from otabench.cloud.store.schema import (
    CampaignImageRow,
    CampaignRow,
    EcuRow,
    JobRow,
    ManifestRow,
    OutboxRow,
    TransitionRow,
    VehicleRow,
)
from otabench.proto import ota_pb2
from tests.cloud.bench import Vehicle

CAMPAIGN: Final = "campaign-of-the-benchmark"
_CHUNK: Final = 1000


class FleetDatabase:
    """The benchmark's own connection to the cloud's database."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)

    def register(self, vins: Sequence[str]) -> None:
        """Write vehicles that have reported what they run."""
        for start in range(0, len(vins), _CHUNK):
            part = vins[start : start + _CHUNK]
            rows = [row for vin in part for row in _ecu_rows(vin)]
            self._database.run_now(lambda session, part=part, rows=rows: _insert_vehicles(session, part, rows))  # type: ignore[misc]

    def count_vehicles(self) -> int:
        """Return how many vehicles are registered."""
        return self._database.run_now(lambda session: _count(session, VehicleRow))

    def count_manifests(self, campaign_id: str) -> int:
        """Return how many manifests of a campaign are made."""
        made = select(func.count(JobRow.job_id.distinct())).join(ManifestRow, ManifestRow.job_id == JobRow.job_id)
        return self._database.run_now(
            lambda session: session.scalar(made.where(JobRow.campaign_id == campaign_id)) or 0
        )

    def states(self) -> set[str]:
        """Return the states of all jobs."""
        return self._database.run_now(lambda session: set(session.scalars(select(JobRow.state).distinct())))

    def add_jobs(self, vins: Sequence[str], state: str) -> None:
        """Write a campaign of these vehicles, whose jobs are in that state."""
        now = time.time()

        def write(session: Session) -> None:
            session.add(
                CampaignRow(
                    campaign_id=CAMPAIGN,
                    name="benchmark",
                    release_notes="",
                    transfer="full",
                    manifest_lifetime_s=0,
                    approval_timeout_s=0,
                    created_at=now,
                )
            )
            session.flush()
            rows = [
                {
                    "job_id": job_of(vin),
                    "campaign_id": CAMPAIGN,
                    "vin": vin,
                    "position": position,
                    "state": state,
                    "offered": True,
                    "updated_at": now,
                }
                for position, vin in enumerate(vins)
            ]
            for start in range(0, len(rows), _CHUNK):
                session.execute(insert(JobRow), rows[start : start + _CHUNK])

        self._database.run_now(write)

    def remove_jobs(self) -> None:
        """Remove all jobs, manifests and messages."""

        def remove(session: Session) -> None:
            for table in (TransitionRow, ManifestRow, JobRow, CampaignImageRow, CampaignRow, OutboxRow):
                session.execute(delete(table))

        self._database.run_now(remove)

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def job_of(vin: str) -> str:
    """Return the job that ``add_jobs`` gives a vehicle."""
    return f"job-{vin}"


def check_in(vin: str) -> bytes:
    """Return the check-in of a vehicle that is not busy."""
    return ota_pb2.CheckInRequest(vin=vin, ecus=Vehicle(vin).reports()).SerializeToString()


def progress(vin: str, *, kib: int) -> bytes:
    """Return a report of progress in DOWNLOADING."""
    return ota_pb2.UpdateStatusRequest(
        vin=vin,
        job_id=job_of(vin),
        state=ota_pb2.JOB_STATE_DOWNLOADING,
        transition_seq=3,
        progress=[
            ota_pb2.EcuProgress(
                ecu="engine", phase="transferring", bytes_done=kib << 10, bytes_total=1 << 20, bytes_per_s=30_000.0
            )
        ],
    ).SerializeToString()


def transitions(vin: str) -> list[bytes]:
    """Return the reports of a vehicle that goes through its job, up to the last state before the end."""
    states = ("CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING")
    return [
        ota_pb2.UpdateStatusRequest(
            vin=vin, job_id=job_of(vin), state=f"JOB_STATE_{state}", transition_seq=number
        ).SerializeToString()
        for number, state in enumerate(states, start=1)
    ]


def _ecu_rows(vin: str) -> list[dict[str, Any]]:
    return [
        {
            "vin": vin,
            "ecu": report.ecu,
            "position": position,
            "serial": report.serial,
            "hardware_id": report.hardware_id,
            "software_version": report.software_version,
            "security_counter": report.slots[0].security_counter,
            "report": report.SerializeToString(),
            "image_number": position + 1,
        }
        for position, report in enumerate(Vehicle(vin).reports())
    ]


def _insert_vehicles(session: Session, vins: Sequence[str], ecus: list[dict[str, Any]]) -> None:
    session.execute(insert(VehicleRow), [{"vin": vin} for vin in vins])
    session.execute(insert(EcuRow), ecus)


def _count(session: Session, table: type[VehicleRow]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0
