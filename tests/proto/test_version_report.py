"""Sealed version reports: what is read is what was signed, by this key and as this kind of report."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.proto.version_report import (
    SIGNATURE_BYTES,
    EcuEntry,
    EcuVersionReport,
    ReportUnreadable,
    SignatureWrong,
    VehicleVersionReport,
    open_ecu_report,
    open_vehicle_report,
    parse_private_key,
    seal,
)

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()
ECU = EcuVersionReport(
    vin="W0TABENCH00000001",
    serial="ENG-0001",
    hardware_id="engine-mcu-a",
    version="2.0.0",
    state="CONFIRMED",
    length=9000,
    hashes={"sha256": "ab" * 32},
    counter=7,
    nonce="11" * 16,
    attack="SIGNATURE_WRONG",
)
VEHICLE = VehicleVersionReport(
    vin="W0TABENCH00000001",
    nonce="11" * 16,
    ecus=(EcuEntry(serial="ENG-0001", hardware_id="engine-mcu-a", version="2.0.0", report="00ff"),),
)


def test_what_was_sealed_is_read_again() -> None:
    assert open_ecu_report(seal(ECU, KEY), PUBLIC) == ECU
    assert open_vehicle_report(seal(VEHICLE, KEY), PUBLIC) == VEHICLE


def test_any_changed_byte_is_refused() -> None:
    sealed = seal(ECU, KEY)
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SignatureWrong):
            open_ecu_report(bytes(changed), PUBLIC)


@pytest.mark.parametrize("sealed", [b"", b"x" * SIGNATURE_BYTES, seal(ECU, Ed25519PrivateKey.generate())])
def test_what_the_key_did_not_sign_is_refused(sealed: bytes) -> None:
    with pytest.raises(SignatureWrong):
        open_ecu_report(sealed, PUBLIC)


def test_a_report_is_not_taken_for_one_of_the_other_kind() -> None:
    with pytest.raises(SignatureWrong):
        open_vehicle_report(seal(ECU, KEY), PUBLIC)
    with pytest.raises(SignatureWrong):
        open_ecu_report(seal(VEHICLE, KEY), PUBLIC)


def test_the_same_report_has_the_same_bytes() -> None:
    assert seal(ECU, KEY) == seal(ECU.model_copy(), KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"counter": 0},
        {"counter": 2**63},
        {"length": -1},
        {"nonce": "not hex"},
        {"serial": "x" * 129},
        {"hashes": {str(number): "ab" for number in range(9)}},
    ],
)
def test_a_signed_report_with_an_impossible_field_is_refused_by_the_field(changes: dict[str, object]) -> None:
    sealed = seal(ECU.model_copy(update=changes), KEY)
    with pytest.raises(ReportUnreadable, match=next(iter(changes))) as caught:
        open_ecu_report(sealed, PUBLIC)
    assert not isinstance(caught.value, SignatureWrong)


def test_a_key_file_holds_64_hexadecimal_digits() -> None:
    assert parse_private_key(KEY.private_bytes_raw().hex() + "\n").public_key() == PUBLIC
    for text in ("", "ab", "zz" * 32, "ä"):
        with pytest.raises(ValueError):
            parse_private_key(text)
