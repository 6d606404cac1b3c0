"""The inventory: registered vehicles and ECUs, with the last report of what each ECU runs.

A report that contradicts the registration is not recorded (``vehicle_rules.judge_report``). Every function works inside the caller's
transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs, snapshots
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, ReportedEcu, VehicleFacts
from otabench.cloud.errors import InvalidRequest, NotAllowed
from otabench.cloud.store.schema import EcuRow, VehicleRow
from otabench.proto import ota_pb2
from otabench.proto.version_order import MAX_VERSION_CHARACTERS


def register(session: Session, vin: str, ecus: Sequence[EcuFacts], *, gateway_key: str = "") -> None:
    """Register the vehicle with exactly these ECUs. An ECU with unchanged serial number and hardware keeps its last report.

    An ECU with a new report key begins to count its version reports anew.

    Raises:
        NotAllowed: the ECUs differ from the registered ones, and the vehicle has an open job, which was made for the registered ones.
    """
    jobs.lock_vehicles(session, [vin])
    known = load_vehicle(session, vin)
    if known is not None:
        is_same = {_registered(ecu) for ecu in ecus} == {_registered(ecu) for ecu in known.ecus}
        if is_same and gateway_key == known.gateway_key:
            return
        if known.busy_state is not None:
            raise NotAllowed(
                f"vehicle {vin} cannot be registered with other ECUs or keys while job {known.busy_job_id} is "
                f"{known.busy_state}: cancel its campaign or wait for its end"
            )
    vehicle = session.get(VehicleRow, vin)
    if vehicle is None:
        vehicle = VehicleRow(vin=vin)
        session.add(vehicle)
    if vehicle.gateway_key != gateway_key:
        # A nonce that another gateway was given must not be answered by this one.
        vehicle.gateway_key, vehicle.report_nonce, vehicle.two_reporters = gateway_key, "", False
    session.flush()
    # Delete ECUs that are no longer registered. Rule 2 refuses later reports about them.
    session.execute(delete(EcuRow).where(EcuRow.vin == vin, EcuRow.ecu.not_in([ecu.ecu for ecu in ecus])))
    for position, ecu in enumerate(ecus):
        _register_ecu(session, vin, ecu, position)


def check_count(session: Session, vin: str, **entries: int) -> None:
    """Check that no list of a report has more entries than the vehicle has ECUs. ``entries``: their numbers by the list's name.

    Raises:
        InvalidRequest: a list has more. The message names it.
    """
    registered = session.scalar(select(func.count()).select_from(EcuRow).where(EcuRow.vin == vin)) or 0
    for name, count in entries.items():
        if count > registered:
            raise InvalidRequest(f"{name}: {count} entries, but vehicle {vin} has {registered} registered ECUs")


def load_vehicle(session: Session, vin: str) -> VehicleFacts | None:
    """Return the registered vehicle with its open job, or None if it is not registered."""
    return snapshots.load_vehicles(session, [vin]).get(vin)


def reported_ecus(ecus: Iterable[ota_pb2.EcuReport]) -> Sequence[ReportedEcu]:
    """Return the ECUs of a report, for ``vehicle_rules.judge_report``."""
    return [ReportedEcu(ecu=ecu.ecu, serial=ecu.serial, hardware_id=ecu.hardware_id) for ecu in ecus]


def record(session: Session, vin: str, ecus: Iterable[ota_pb2.EcuReport]) -> None:
    """Record what the vehicle's ECUs run. The report must have passed ``vehicle_rules.judge_report``."""
    rows = {row.ecu: row for row in session.scalars(select(EcuRow).where(EcuRow.vin == vin))}
    for report in ecus:
        row = rows.get(report.ecu)
        if row is None:
            continue
        row.software_version = report.software_version[:MAX_VERSION_CHARACTERS]
        active = report.slots[report.active_slot] if report.active_slot < len(report.slots) else None
        # The counter of an INVALID slot means nothing, because the image in it does not verify.
        is_known = active is not None and active.state != ota_pb2.SLOT_STATE_INVALID
        row.security_counter = active.security_counter if active is not None and is_known else None
        # Store the whole report, so that a later version of the cloud can read more of it.
        row.report = report.SerializeToString()


def _registered(ecu: EcuFacts) -> EcuFacts:
    """Return the registered facts of an ECU, without its report."""
    return replace(ecu, software_version="", security_counter=None)


def _register_ecu(session: Session, vin: str, ecu: EcuFacts, position: int) -> None:
    row = session.get(EcuRow, (vin, ecu.ecu))
    if row is not None and (row.serial, row.hardware_id) == (ecu.serial, ecu.hardware_id):
        row.position, row.public_key, row.image_number = position, ecu.public_key, ecu.image_number
        _set_update_facts(row, ecu)
        return
    if row is not None:
        # Another ECU has this name now. The report of the previous one does not apply to it.
        session.delete(row)
        session.flush()
    row = EcuRow(
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
    _set_update_facts(row, ecu)
    session.add(row)


def _set_update_facts(row: EcuRow, ecu: EcuFacts) -> None:
    row.takes_programs, row.takes_patches = ecu.takes_programs, ecu.takes_patches
    row.version_order, row.known_versions = ecu.versions.order, json.dumps(ecu.versions.known)
    if row.report_key != ecu.report_key:
        row.report_key, row.report_counter = ecu.report_key, 0
