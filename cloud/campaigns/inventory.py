"""The inventory: which vehicles and ECUs the cloud knows, and what they were last reported to run.

Decides what registering and reporting change. Whether a report may be believed is ``campaigns.vehicle_rules.judge_report``'s: a
report that contradicts the registration is not written. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.vehicle_rules import EcuFacts, ReportedEcu, VehicleFacts
from otabench.cloud.errors import InvalidRequest, NotAllowed
from otabench.cloud.names import checked
from otabench.cloud.store.schema import EcuRow, JobRow, VehicleRow
from otabench.cloud.trust.encryption import check_public_key
from otabench.proto import ota_pb2
from otabench.proto.image_format import MAX_IMAGE_NUMBER
from otabench.proto.job_states import FINAL_STATES, JobState


def check_registration(request: ota_pb2.RegisterVehicleRequest) -> None:
    """Is the registration complete and free of contradictions in itself?

    Raises:
        InvalidRequest: it is not.
    """
    try:
        checked(request.vin, "VIN")
        for ecu in request.ecus:
            checked(ecu.ecu, "ECU")
            checked(ecu.hardware_id, f"hardware id of {ecu.ecu}")
            if not ecu.serial or not ecu.serial.isprintable() or len(ecu.serial) > 64:
                raise ValueError(f"serial number of {ecu.ecu} {ecu.serial!r}: 1 to 64 printable characters")
            _check_key(ecu)
            if ecu.image_number > MAX_IMAGE_NUMBER:
                raise ValueError(f"image number of {ecu.ecu} {ecu.image_number}: 1 to {MAX_IMAGE_NUMBER}")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    if not request.ecus:
        raise InvalidRequest(f"vehicle {request.vin} is registered without ECUs: give at least one")
    for what, values in (
        ("ECU", [ecu.ecu for ecu in request.ecus]),
        ("serial number", [e.serial for e in request.ecus]),
        ("image number", [str(number) for number in _image_numbers(request)]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise InvalidRequest(f"vehicle {request.vin}: {what} {', '.join(twice)} is given twice")


def register(session: Session, request: ota_pb2.RegisterVehicleRequest) -> None:
    """Makes the vehicle and exactly these ECUs known; an ECU whose facts are unchanged keeps what it reported.

    Raises:
        NotAllowed: the facts differ from those registered, and a job of the vehicle is open that was made for them.
    """
    known = facts(session, request.vin)
    if known is not None:
        given = {
            (ecu.ecu, ecu.serial, ecu.hardware_id, ecu.public_key.hex(), number)
            for ecu, number in zip(request.ecus, _image_numbers(request), strict=True)
        }
        if given == {(ecu.ecu, ecu.serial, ecu.hardware_id, ecu.public_key, ecu.image_number) for ecu in known.ecus}:
            return
        if known.busy_state is not None:
            raise NotAllowed(
                f"vehicle {request.vin} cannot be registered with other ECUs while job {known.busy_job_id} is "
                f"{known.busy_state}: cancel its campaign or wait for its end"
            )
    if session.get(VehicleRow, request.vin) is None:
        session.add(VehicleRow(vin=request.vin))
        session.flush()
    names = [ecu.ecu for ecu in request.ecus]
    session.execute(delete(EcuRow).where(EcuRow.vin == request.vin, EcuRow.ecu.not_in(names)))
    for position, (ecu, number) in enumerate(zip(request.ecus, _image_numbers(request), strict=True)):
        row = session.get(EcuRow, (request.vin, ecu.ecu))
        if row is not None and (row.serial, row.hardware_id) == (ecu.serial, ecu.hardware_id):
            row.position, row.public_key, row.image_number = position, ecu.public_key.hex(), number
            continue
        if row is not None:
            session.delete(row)
            session.flush()
        session.add(
            EcuRow(
                vin=request.vin,
                ecu=ecu.ecu,
                position=position,
                serial=ecu.serial,
                hardware_id=ecu.hardware_id,
                software_version="",
                report=b"",
                public_key=ecu.public_key.hex(),
                image_number=number,
            )
        )


def _image_numbers(request: ota_pb2.RegisterVehicleRequest) -> list[int]:
    """Of the request's ECUs, in its order: what it says, else the place in the list, from 1."""
    return [ecu.image_number or place for place, ecu in enumerate(request.ecus, start=1)]


def _check_key(ecu: ota_pb2.RegisterVehicleRequest.Ecu) -> None:
    if not ecu.HasField("public_key"):
        return
    try:
        check_public_key(ecu.public_key)
    except ValueError as error:
        raise ValueError(f"public key of {ecu.ecu}: {error}") from error


def facts(session: Session, vin: str) -> VehicleFacts | None:
    """The vehicle as the inventory has it, with the job that it is busy with; None where it is not known."""
    if session.get(VehicleRow, vin) is None:
        return None
    ecus = session.scalars(select(EcuRow).where(EcuRow.vin == vin).order_by(EcuRow.position))
    busy = session.scalars(
        select(JobRow).where(JobRow.vin == vin, JobRow.state.not_in([str(state) for state in FINAL_STATES]))
    ).first()
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


def reported(ecus: Iterable[ota_pb2.EcuReport]) -> Sequence[ReportedEcu]:
    """What a report says of who the ECUs are, for ``policy.judge_report``."""
    return [ReportedEcu(ecu=ecu.ecu, serial=ecu.serial, hardware_id=ecu.hardware_id) for ecu in ecus]


def record(session: Session, vin: str, ecus: Iterable[ota_pb2.EcuReport]) -> None:
    """Writes what the vehicle's ECUs run; the report has passed ``policy.judge_report``."""
    for report in ecus:
        row = session.get(EcuRow, (vin, report.ecu))
        if row is None:
            continue
        row.software_version = report.software_version[:64]
        active = report.slots[report.active_slot] if report.active_slot < len(report.slots) else None
        is_known = active is not None and active.state != ota_pb2.SLOT_STATE_INVALID
        row.security_counter = active.security_counter if active is not None and is_known else None
        row.report = report.SerializeToString()
