"""The inventory: the vehicles and ECUs that are registered, and what each ECU was last reported to run.

Whether a report can be believed is judged by ``vehicle_rules.judge_report``; a report that contradicts the registration is not
recorded. Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, ReportedEcu, VehicleFacts
from otabench.cloud.errors import NotAllowed
from otabench.cloud.store.schema import EcuRow, VehicleRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

_MAX_VERSION_CHARACTERS: Final = 64
"""What the table's column holds."""


def register(session: Session, vin: str, ecus: Sequence[EcuFacts]) -> None:
    """Register the vehicle with exactly these ECUs. An ECU whose serial number and hardware stay keeps what it reported.

    Raises:
        NotAllowed: these ECUs differ from those registered, and the vehicle has an open job that was made for those.
    """
    known = load_vehicle(session, vin)
    if known is not None:
        if {_registered(ecu) for ecu in ecus} == {_registered(ecu) for ecu in known.ecus}:
            return
        if known.busy_state is not None:
            raise NotAllowed(
                f"vehicle {vin} cannot be registered with other ECUs while job {known.busy_job_id} is "
                f"{known.busy_state}: cancel its campaign or wait for its end"
            )
    if session.get(VehicleRow, vin) is None:
        session.add(VehicleRow(vin=vin))
        session.flush()
    # ECUs that are no longer registered; a report about one is then refused by rule 2.
    session.execute(delete(EcuRow).where(EcuRow.vin == vin, EcuRow.ecu.not_in([ecu.ecu for ecu in ecus])))
    for position, ecu in enumerate(ecus):
        _register_ecu(session, vin, ecu, position)


def load_vehicle(session: Session, vin: str) -> VehicleFacts | None:
    """Return the vehicle as registered, with its open job, or None if it is not registered."""
    if session.get(VehicleRow, vin) is None:
        return None
    ecus = session.scalars(select(EcuRow).where(EcuRow.vin == vin).order_by(EcuRow.position))
    busy = jobs.find_open_job(session, vin)
    return VehicleFacts(
        vin=vin,
        ecus=tuple(
            EcuFacts(
                ecu=row.ecu,
                serial=row.serial,
                hardware_id=row.hardware_id,
                software_version=row.software_version,
                security_counter=row.security_counter,
                public_key=row.public_key,
                image_number=row.image_number,
            )
            for row in ecus
        ),
        busy_job_id=busy.job_id if busy else "",
        busy_state=JobState(busy.state) if busy else None,
    )


def reported_ecus(ecus: Iterable[ota_pb2.EcuReport]) -> Sequence[ReportedEcu]:
    """Return which ECUs a report is about, for ``vehicle_rules.judge_report``."""
    return [ReportedEcu(ecu=ecu.ecu, serial=ecu.serial, hardware_id=ecu.hardware_id) for ecu in ecus]


def record(session: Session, vin: str, ecus: Iterable[ota_pb2.EcuReport]) -> None:
    """Record what the vehicle's ECUs run. The report must have passed ``vehicle_rules.judge_report``."""
    for report in ecus:
        row = session.get(EcuRow, (vin, report.ecu))
        if row is None:
            continue
        row.software_version = report.software_version[:_MAX_VERSION_CHARACTERS]
        active = report.slots[report.active_slot] if report.active_slot < len(report.slots) else None
        # The counter of an INVALID slot means nothing: no image in it verifies.
        is_known = active is not None and active.state != ota_pb2.SLOT_STATE_INVALID
        row.security_counter = active.security_counter if active is not None and is_known else None
        row.report = report.SerializeToString()  # whole, so that a later version can read more of it


def _registered(ecu: EcuFacts) -> EcuFacts:
    """Return the ECU without what it reported."""
    return replace(ecu, software_version="", security_counter=None)


def _register_ecu(session: Session, vin: str, ecu: EcuFacts, position: int) -> None:
    row = session.get(EcuRow, (vin, ecu.ecu))
    if row is not None and (row.serial, row.hardware_id) == (ecu.serial, ecu.hardware_id):
        row.position, row.public_key, row.image_number = position, ecu.public_key, ecu.image_number
        return
    if row is not None:  # another ECU under the same name: what the former one reported does not hold for it
        session.delete(row)
        session.flush()
    session.add(
        EcuRow(
            vin=vin,
            ecu=ecu.ecu,
            position=position,
            serial=ecu.serial,
            hardware_id=ecu.hardware_id,
            software_version="",
            report=b"",
            public_key=ecu.public_key,
            image_number=ecu.image_number,
        )
    )
