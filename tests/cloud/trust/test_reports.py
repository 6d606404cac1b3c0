"""Each way in which a version report is not what it should be is dropped by its own name, and an honest one is accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.cloud.trust.reports import AcceptedReport, Drop, ReportDropped, Reporter, ReportingEcu, accept, stalled
from otabench.proto.version_report import EcuEntry, EcuVersionReport, VehicleVersionReport, seal

VIN = "W0TABENCH00000001"
NONCE = "11" * 16
OTHER_NONCE = "22" * 16
NOW = 1000.0
GATEWAY, ENGINE, ADAS, STRANGER = (Ed25519PrivateKey.generate() for _ in range(4))
KEYS = {"ENG-1": ENGINE, "ADA-1": ADAS}
REPORTER = Reporter(
    vin=VIN,
    gateway_key=GATEWAY.public_key().public_bytes_raw(),
    ecus=[
        ReportingEcu("engine", "ENG-1", "engine-mcu", ENGINE.public_key().public_bytes_raw(), counter=5),
        ReportingEcu("adas", "ADA-1", "adas-mcu", ADAS.public_key().public_bytes_raw(), counter=0),
    ],
    nonce=NONCE,
    expires_at=NOW + 60,
)


def own(serial: str, hardware_id: str, *, key: Ed25519PrivateKey | None = None, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "vin": VIN,
        "serial": serial,
        "hardware_id": hardware_id,
        "version": "2.0.0",
        "state": "CONFIRMED",
        "length": 9000,
        "hashes": {"sha256": "ab" * 32},
        "counter": 6,
        "nonce": NONCE,
    }
    return seal(EcuVersionReport(**{**facts, **changes}), key or KEYS[serial]).hex()


def entry(serial: str, hardware_id: str, **changes: Any) -> EcuEntry:
    return EcuEntry(serial=serial, hardware_id=hardware_id, version="2.0.0", report=own(serial, hardware_id, **changes))


ENTRIES = (entry("ENG-1", "engine-mcu"), entry("ADA-1", "adas-mcu"))


def vehicle(*entries: EcuEntry, key: Ed25519PrivateKey = GATEWAY, vin: str = VIN, nonce: str = NONCE) -> bytes:
    return seal(VehicleVersionReport(vin=vin, nonce=nonce, ecus=entries or ENTRIES), key)


def dropped(sealed: bytes, reporter: Reporter = REPORTER, *, now: float = NOW) -> Drop:
    with pytest.raises(ReportDropped) as caught:
        accept(sealed, reporter, now=now)
    assert str(caught.value).startswith(f"{caught.value.drop}: ")
    return caught.value.drop


def used(report: AcceptedReport) -> Reporter:
    """Return the vehicle after this report."""
    return replace(REPORTER, nonce=OTHER_NONCE, used_nonce=NONCE, used_sha256=report.sha256)


def test_an_honest_report_is_accepted_with_what_each_ecu_has_signed() -> None:
    accepted = accept(vehicle(), REPORTER, now=NOW)

    assert not accepted.is_repeated
    assert {name: found.version for name, found in accepted.installed.items()} == {"engine": "2.0.0", "adas": "2.0.0"}
    assert all(found.own is not None and found.own.counter == 6 for found in accepted.installed.values())


def test_an_ecu_without_a_key_is_what_the_gateway_states() -> None:
    engine, adas = REPORTER.ecus
    reporter = replace(REPORTER, ecus=[engine, replace(adas, key=b"")])
    stated = EcuEntry(serial="ADA-1", hardware_id="adas-mcu", version="1.2.3")

    accepted = accept(vehicle(ENTRIES[0], stated), reporter, now=NOW)

    assert (accepted.installed["adas"].version, accepted.installed["adas"].own) == ("1.2.3", None)
    assert accepted.installed["engine"].own is not None


@pytest.mark.parametrize(
    ("sealed", "drop"),
    [
        pytest.param(b"", Drop.GATEWAY_SIGNATURE, id="empty"),
        pytest.param(vehicle(key=STRANGER), Drop.GATEWAY_SIGNATURE, id="stranger's key"),
        pytest.param(vehicle(key=ENGINE), Drop.GATEWAY_SIGNATURE, id="ECU's key"),
        pytest.param(vehicle(vin="W0TABENCH00000002"), Drop.OTHER_VEHICLE, id="other VIN"),
        pytest.param(
            seal(VehicleVersionReport(vin=VIN, primary="ab" * 32, nonce=NONCE, ecus=ENTRIES), GATEWAY),
            Drop.OTHER_PRIMARY,
            id="other Primary",
        ),
        pytest.param(
            vehicle(entry("ENG-1", "engine-mcu", attested_time_s=int(NOW) + 30 * 86_400), ENTRIES[1]),
            Drop.TIME,
            id="attested time ahead",
        ),
        pytest.param(vehicle(nonce=OTHER_NONCE), Drop.UNKNOWN_NONCE, id="invented nonce"),
        pytest.param(vehicle(nonce=""), Drop.UNKNOWN_NONCE, id="no nonce"),
        pytest.param(vehicle(ENTRIES[0]), Drop.ECU_MISSING, id="ECU left out"),
        pytest.param(vehicle(*ENTRIES, ENTRIES[0]), Drop.UNKNOWN_ECU, id="ECU twice"),
        pytest.param(
            vehicle(*ENTRIES, EcuEntry(serial="X", hardware_id="x", version="1")), Drop.UNKNOWN_ECU, id="unknown ECU"
        ),
        pytest.param(
            vehicle(EcuEntry(serial="ENG-1", hardware_id="engine-mcu", version="2.0.0"), ENTRIES[1]),
            Drop.ECU_MISSING,
            id="ECU's signature left out",
        ),
        pytest.param(
            vehicle(entry("ENG-1", "engine-mcu", key=GATEWAY), ENTRIES[1]), Drop.ECU_SIGNATURE, id="gateway forges"
        ),
        pytest.param(
            vehicle(entry("ENG-1", "engine-mcu", key=ADAS), ENTRIES[1]), Drop.ECU_SIGNATURE, id="other ECU signs"
        ),
        pytest.param(
            vehicle(EcuEntry(serial="ENG-1", hardware_id="other", version="2.0.0"), ENTRIES[1]),
            Drop.OTHER_ECU,
            id="other hardware",
        ),
        pytest.param(
            vehicle(
                EcuEntry(
                    serial="ENG-1",
                    hardware_id="engine-mcu",
                    version="2.0.0",
                    report=own("ADA-1", "adas-mcu", key=ENGINE),
                ),
                ENTRIES[1],
            ),
            Drop.OTHER_ECU,
            id="ECU states another serial number",
        ),
        pytest.param(
            vehicle(entry("ENG-1", "engine-mcu", vin="W0TABENCH00000002"), ENTRIES[1]),
            Drop.OTHER_VEHICLE,
            id="ECU of another vehicle",
        ),
        pytest.param(
            vehicle(entry("ENG-1", "engine-mcu", nonce=OTHER_NONCE), ENTRIES[1]), Drop.REPLAYED, id="kept ECU report"
        ),
        pytest.param(vehicle(entry("ENG-1", "engine-mcu", counter=5), ENTRIES[1]), Drop.COUNTER, id="same counter"),
        pytest.param(
            vehicle(EcuEntry(serial="ENG-1", hardware_id="engine-mcu", version="2.0.0", report="00"), ENTRIES[1]),
            Drop.ECU_SIGNATURE,
            id="ECU's report cut",
        ),
    ],
)
def test_a_report_that_is_not_in_order_is_dropped_by_name(sealed: bytes, drop: Drop) -> None:
    assert dropped(sealed) is drop


def test_a_nonce_counts_until_it_expires() -> None:
    accept(vehicle(), REPORTER, now=NOW + 59)
    assert dropped(vehicle(), now=NOW + 60) is Drop.NONCE_EXPIRED


def test_without_a_nonce_given_no_report_is_accepted() -> None:
    reporter = replace(REPORTER, nonce="")
    assert dropped(vehicle(nonce=""), reporter) is Drop.UNKNOWN_NONCE
    assert dropped(vehicle(), reporter) is Drop.UNKNOWN_NONCE


def test_the_same_bytes_again_are_a_repetition_and_not_a_replay() -> None:
    after = used(accept(vehicle(), REPORTER, now=NOW))
    after = replace(after, ecus=[replace(ecu, counter=6) for ecu in after.ecus])

    assert accept(vehicle(), after, now=NOW + 1000).is_repeated


def test_two_reports_for_one_nonce_come_from_two_gateways() -> None:
    after = used(accept(vehicle(), REPORTER, now=NOW))
    second = vehicle(entry("ENG-1", "engine-mcu", counter=7), ENTRIES[1])

    assert dropped(second, after) is Drop.TWO_REPORTERS


def test_an_old_report_is_dropped_once_a_later_nonce_was_used() -> None:
    old = vehicle()
    after = replace(used(accept(old, REPORTER, now=NOW)), nonce="33" * 16, used_nonce=OTHER_NONCE, used_sha256="0" * 64)

    assert dropped(old, after) is Drop.UNKNOWN_NONCE


def test_what_is_signed_but_malformed_is_dropped_without_quoting_it() -> None:
    body = b'{"vin": 5}'
    sealed = GATEWAY.sign(b"otabench version report 1: vehicle\0" + body) + body
    assert dropped(sealed) is Drop.MALFORMED


DAY = 86_400


@pytest.mark.parametrize(
    ("engine_s", "adas_s", "words"),
    [
        (10 * DAY + 5, 10 * DAY + 9, []),
        (7 * DAY, 10 * DAY, ["engine stalls: its attested time is 3 days older than the campaign"]),
        (10 * DAY, 0, ["adas stalls: it has never received the time, and others have"]),
        (0, 0, []),  # a cloud that does not attest the time
        (7 * DAY, 7 * DAY, []),
    ],
)
def test_an_ecu_that_does_not_move_on_while_another_does_is_named(engine_s: int, adas_s: int, words: list[str]) -> None:
    entries = (
        entry("ENG-1", "engine-mcu", attested_time_s=engine_s),
        entry("ADA-1", "adas-mcu", attested_time_s=adas_s),
    )
    reporter = replace(REPORTER, expires_at=12 * DAY)
    installed = accept(vehicle(*entries), reporter, now=11 * DAY).installed
    assert stalled(installed, since=10 * DAY) == words
