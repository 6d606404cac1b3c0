"""Check a RegisterVehicle request by itself: it must be complete and free of contradictions.

``inventory`` decides whether the vehicle may be registered like this now, and registers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from otabench.cloud.campaigns.vehicle_rules import EcuFacts
from otabench.cloud.errors import InvalidRequest
from otabench.cloud.names import find_duplicates, require_safe_name
from otabench.cloud.trust.encryption import check_public_key
from otabench.proto import ota_pb2
from otabench.proto.image_format import MAX_IMAGE_NUMBER
from otabench.proto.version_order import VersionOrder, VersionRule, check_text
from otabench.proto.version_report import KEY_BYTES

_MAX_SERIAL_CHARACTERS: Final = 64
_PAYLOADS: Final[Mapping[int, bool]] = {
    ota_pb2.PAYLOAD_KIND_UNSPECIFIED: False,
    ota_pb2.PAYLOAD_KIND_CONTAINER: False,
    ota_pb2.PAYLOAD_KIND_PROGRAM: True,
}
_ORDERS: Final[Mapping[int, VersionOrder]] = {
    ota_pb2.VERSION_ORDER_UNSPECIFIED: VersionOrder.SEMVER,
    ota_pb2.VERSION_ORDER_SEMVER: VersionOrder.SEMVER,
    ota_pb2.VERSION_ORDER_NUMERIC: VersionOrder.NUMERIC,
    ota_pb2.VERSION_ORDER_LIST: VersionOrder.LIST,
    ota_pb2.VERSION_ORDER_NONE: VersionOrder.NONE,
}
_Choice = TypeVar("_Choice")


def check_registration(request: ota_pb2.RegisterVehicleRequest) -> tuple[EcuFacts, ...]:
    """Return the ECUs of a request, in its order.

    Raises:
        InvalidRequest: the request is incomplete or contradicts itself; the message contains the ECU and the field.
    """
    try:
        require_safe_name(request.vin, "VIN")
        ecus = tuple(_check_ecu(ecu, place) for place, ecu in enumerate(request.ecus, start=1))
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    if not ecus:
        raise InvalidRequest(f"vehicle {request.vin} is registered without ECUs: give at least one")
    for what, values in (
        ("ECU", [ecu.ecu for ecu in ecus]),
        ("serial number", [ecu.serial for ecu in ecus]),
        ("image number", [str(ecu.image_number) for ecu in ecus]),
    ):
        if twice := find_duplicates(values):
            raise InvalidRequest(f"vehicle {request.vin}: {what} {', '.join(twice)} is given twice")
    return ecus


def check_gateway_key(request: ota_pb2.RegisterVehicleRequest) -> str:
    """Return the key of the vehicle's gateway, hex; "" if it has none.

    Raises:
        InvalidRequest: it is not a key, or an ECU has a key for version reports and the gateway has not.
    """
    try:
        key = _check_report_key(request.gateway_key, "gateway_key")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    signing = [ecu.ecu for ecu in request.ecus if ecu.report_key]
    if signing and not key:
        raise InvalidRequest(
            f"vehicle {request.vin}: {', '.join(signing)} signs version reports, but there is no gateway_key to verify "
            "the vehicle's with: give both or neither"
        )
    return key


def _check_report_key(given: bytes, what: str) -> str:
    if given and len(given) != KEY_BYTES:
        raise ValueError(f"{what}: {len(given)} bytes: an Ed25519 public key has {KEY_BYTES}")
    return given.hex()


def _check_ecu(given: ota_pb2.RegisterVehicleRequest.Ecu, place: int) -> EcuFacts:
    require_safe_name(given.ecu, "ECU")
    require_safe_name(given.hardware_id, f"hardware id of {given.ecu}")
    if not given.serial or not given.serial.isprintable() or len(given.serial) > _MAX_SERIAL_CHARACTERS:
        raise ValueError(
            f"serial number of {given.ecu} {given.serial!r}: 1 to {_MAX_SERIAL_CHARACTERS} printable characters"
        )
    if given.HasField("public_key"):
        try:
            check_public_key(given.public_key)
        except ValueError as error:
            raise ValueError(f"public key of {given.ecu}: {error}") from error
    if given.image_number > MAX_IMAGE_NUMBER:
        raise ValueError(f"image number of {given.ecu} {given.image_number}: 1 to {MAX_IMAGE_NUMBER}")
    takes_programs = _choice(given.payload, _PAYLOADS, f"payload of {given.ecu}")
    if takes_programs and given.HasField("public_key"):
        raise ValueError(f"public key of {given.ecu}: program files are not encrypted for their ECU; leave it out")
    return EcuFacts(
        ecu=given.ecu,
        serial=given.serial,
        hardware_id=given.hardware_id,
        public_key=given.public_key.hex(),
        # 0 means "not given" in proto3. It cannot be a number of an ECU, because it denotes the image's own ECU in a dependency.
        image_number=given.image_number or place,
        takes_programs=takes_programs,
        takes_patches=not (takes_programs or given.refuses_patches),
        versions=_check_versions(given),
        report_key=_check_report_key(given.report_key, f"report_key of {given.ecu}"),
    )


def _check_versions(given: ota_pb2.RegisterVehicleRequest.Ecu) -> VersionRule:
    order = _choice(given.version_order, _ORDERS, f"version order of {given.ecu}")
    known = tuple(given.known_versions)
    if (order is VersionOrder.LIST) != bool(known) or find_duplicates(known):
        raise ValueError(f"known versions of {given.ecu}: each of them once, for the order LIST only")
    for text in known:
        check_text(text)
    return VersionRule(order, known)


def _choice(number: int, choices: Mapping[int, _Choice], what: str) -> _Choice:
    # Enumerations of proto3 are open: a newer client may send any number.
    if number not in choices:
        raise ValueError(f"{what}: this cloud does not have {number}")
    return choices[number]
