"""Services 22, 2E, 14 and 19."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

import pytest

from otabench.ecu_firmware_sim.uds.codes import Did
from otabench.ecu_firmware_sim.uds.conditions import Conditions
from otabench.ecu_firmware_sim.uds.data import READERS
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from tests.ecu_firmware_sim.factory import HARDWARE_ID, SERIAL, VIN, Bench, Manifest

RECORDS = [
    ("F1 80", b"boot 1"),
    ("F1 86", b"\x01"),
    ("F1 87", b"PN-1"),
    ("F1 89", b"1.0.0"),
    ("F1 8C", SERIAL.encode()),
    ("F1 90", VIN.encode()),
    ("F1 91", HARDWARE_ID.encode()),
    ("F1 95", b"otabench-ecu 1"),
    ("F1 A0", b"OTABENCH 1"),
]


@pytest.mark.parametrize(("identifier", "record"), RECORDS)
def test_22_reads(ecu: Bench, identifier: str, record: bytes) -> None:
    assert ecu.must(f"22 {identifier}") == b"\x62" + bytes.fromhex(identifier) + record


def test_22_slot_table_has_28_bytes_as_in_the_contract(ecu: Bench) -> None:
    table = ecu.must("22 F1 A1")[3:]
    assert table[:2] == b"\x00\x00"
    assert table[2:15] == b"\x03\x01\x00" + bytes(2) + bytes(4) + b"\x00\x00\x00\x01"
    assert table[15:] == bytes(13)


_FIXED_LENGTHS = {
    Did.ACTIVE_SESSION: 1,
    Did.SLOT_TABLE: 28,
    Did.TIME_NONCE: 16,
    Did.ROOT_VERSION: 4,
    Did.ENGINE_SPEED: 2,
    Did.VEHICLE_SPEED: 1,
    Did.SUPPLY_VOLTAGE: 2,
}
"""As docs/contracts.md has them."""


def test_22_answers_several_identifiers_and_leaves_out_unknown_ones(ecu: Bench) -> None:
    assert ecu.must("22 F1 86 AB CD F1 89") == b"\x62\xf1\x86\x01\xf1\x891.0.0"


def test_22_of_what_was_never_written_is_31_and_left_out_of_several(new_ecu: Callable[..., Bench]) -> None:
    ecu = new_ecu(vin="")
    assert ecu.ask("22 F1 84") == "7F 22 31"
    assert ecu.ask("22 F1 90 F1 84") == "7F 22 31"
    assert ecu.ask("22 F1 84 F1 86 F1 90") == "62 F1 86 01"


def test_22_of_all_identifiers_is_split_as_the_contract_says(ecu: Bench) -> None:
    ecu.unlock()
    ecu.must("2E F1 84 26 11 23 54 45 53 54")
    identifiers = sorted(READERS)
    rest = ecu.must(b"\x22" + b"".join(identifier.to_bytes(2, "big") for identifier in identifiers))[1:]
    found: dict[int, bytes] = {}
    while rest:
        identifier = int.from_bytes(rest[:2], "big")
        length = _FIXED_LENGTHS.get(Did(identifier))
        end = 2 + length if length is not None else len(re.split(rb"[\xf1\xf4]", rest[2:])[0]) + 2
        found[identifier], rest = rest[2:end], rest[end:]
    assert list(found) == identifiers
    identifiers.remove(Did.TIME_NONCE)  # another one each time
    del found[Did.TIME_NONCE]
    assert found == {one: ecu.must(b"\x22" + one.to_bytes(2, "big"))[3:] for one in identifiers}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (Conditions(), "62 F4 0C 00 00 F4 0D 00 F4 42 34 BC"),
        (Conditions(speed_km_h=0.4, engine_running=True, supply_v=11.2), "62 F4 0C 0C 80 F4 0D 01 F4 42 2B C0"),
        (Conditions(speed_km_h=900, supply_v=-1), "62 F4 0C 00 00 F4 0D FF F4 42 00 00"),
    ],
)
def test_22_of_the_vehicles_conditions(ecu: Bench, conditions: Conditions, expected: str) -> None:
    vars(ecu.server.device.conditions).update(vars(conditions))
    assert ecu.ask("22 F4 0C F4 0D F4 42") == expected


def test_22_with_only_unknown_identifiers_is_31(ecu: Bench) -> None:
    assert ecu.ask("22 AB CD 12 34") == "7F 22 31"


def test_22_whose_answer_would_be_too_long_is_14(ecu: Bench) -> None:
    assert ecu.ask(b"\x22" + b"\xf1\x90" * 300) == "7F 22 14"


def test_2e_fingerprint_is_kept(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.ask("2E F1 84 26 11 23 54 45 53 54") == "6E F1 84"
    ecu.boot()
    assert ecu.must("22 F1 84")[3:] == bytes.fromhex("26 11 23 54 45 53 54")


@pytest.mark.parametrize(
    ("record", "nrc"), [("26 11 23", "13"), ("26 11 23" + " 41" * 33, "13"), ("2A 11 23 41", "31")]
)
def test_2e_fingerprint_of_another_form_is_refused(ecu: Bench, record: str, nrc: str) -> None:
    ecu.unlock()
    assert ecu.ask("2E F1 84 " + record) == f"7F 2E {nrc}"


def test_2e_of_what_cannot_be_written_is_31(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.ask("2E F1 8C 41") == "7F 2E 31"


@pytest.mark.parametrize(
    ("session", "request_text", "nrc"),
    [
        ("10 03", "2E F1 8C 41", "31"),  # cannot be written at all: neither locked nor unlocked
        ("10 03", "2E F1 A0 41", "31"),  # RXSWIN
        ("10 03", "2E AB CD 41", "31"),
        ("10 03", "2E F1 84 41", "31"),  # not in this session
        ("10 02", "2E F1 84 41", "33"),  # 33 before 13: the record is too short, too
        ("10 03", "2E F1 90 41", "33"),
        ("10 02", "2E F1 90 41", "33"),
    ],
)
def test_2e_is_judged_by_its_identifier_before_the_lock_and_its_length(
    ecu: Bench, session: str, request_text: str, nrc: str
) -> None:
    if session == "10 02":
        ecu.must("10 03")
    ecu.must(session)
    assert ecu.ask(request_text) == f"7F 2E {nrc}"


def test_a_scan_of_a_locked_ecu_finds_the_identifiers_that_can_be_written(ecu: Bench) -> None:
    ecu.must("10 03")
    ecu.must("10 02")
    answers = {did: ecu.ask(bytes((0x2E, 0xF1, did, 0x41))) for did in range(0x100)}
    assert {did for did, answer in answers.items() if answer != "7F 2E 31"} == {0x84, 0x90}


@pytest.mark.clause("R156 7.1.2.3", "R156 7.2.1.2.2", "R156 7.2.1.2.3")
def test_rxswin_is_read_in_every_session_and_stays_as_it_is(ecu: Bench) -> None:
    before = ecu.must("22 F1 A0")
    ecu.unlock()
    assert ecu.ask(b"\x2e\xf1\xa0" + before[3:]) == "7F 2E 31"
    assert ecu.must("22 F1 A0") == before


@pytest.mark.clause("R156 7.1.2.3", "R156 7.2.1.2.3")
def test_only_an_image_that_runs_brings_another_rxswin(ecu: Bench, new_image: bytes) -> None:
    assert ecu.stage(new_image) == 0
    assert ecu.must("22 F1 A0")[3:] == b"OTABENCH 1", "staged is not running"
    ecu.trial(new_image)
    assert ecu.must("22 F1 A0")[3:] == b"OTABENCH 2"


@pytest.mark.parametrize("request_text", ["23 44 00 00 00 00 00 00 00 10", "3D 44 00 00 00 00 00 00 00 01 FF"])
def test_memory_cannot_be_read_or_written_by_address(ecu: Bench, request_text: str) -> None:
    ecu.unlock()
    assert ecu.ask(request_text) == f"7F {request_text[:2]} 11"


def test_2e_vin_is_written_once(new_ecu: Callable[..., Bench]) -> None:
    ecu = new_ecu(vin="")
    ecu.unlock()
    assert ecu.ask(b"\x2e\xf1\x90SHORT") == "7F 2E 13"
    assert ecu.ask(b"\x2e\xf1\x90" + VIN.encode()) == "6E F1 90"
    assert ecu.ask(b"\x2e\xf1\x90" + VIN.encode()) == "7F 2E 22"
    ecu.boot()
    assert ecu.must("22 F1 90")[3:] == VIN.encode()


def test_19_02_gives_codes_by_status_mask_and_they_stay(ecu: Bench) -> None:
    ecu.dtcs.set(Dtc.BOOT_FAILED, "seen")
    assert ecu.ask("19 02 08") == "59 02 2F 16 01 00 2F"
    ecu.boot()
    assert ecu.ask("19 02 01") == "59 02 2F"
    assert ecu.ask("19 02 08") == "59 02 2F 16 01 00 2C"


def test_19_0a_gives_all_supported_codes(ecu: Bench) -> None:
    ecu.dtcs.set(Dtc.IMAGE_REFUSED, "seen")
    ecu.dtcs.set(Dtc.BOOT_FAILED, "seen")
    ecu.boot()
    ecu.dtcs.set(Dtc.ROLLED_BACK, "seen")
    assert (
        ecu.ask("19 0A")
        == "59 0A 2F 06 01 00 00 05 62 00 00 05 63 00 00 06 02 00 2C 06 2F 00 00 16 01 00 2C 16 02 00 2F"
    )


def test_a_pending_code_ages_by_a_cycle_in_which_it_did_not_fail_and_stays_confirmed(ecu: Bench) -> None:
    ecu.dtcs.set(Dtc.SLOT_CHECKSUM, "seen")
    ecu.boot()
    assert ecu.ask("19 02 04") == "59 02 2F 06 01 00 2C", "failed in the cycle before this one"
    ecu.boot()
    assert ecu.ask("19 02 04") == "59 02 2F"
    assert ecu.ask("19 02 08") == "59 02 2F 06 01 00 28"
    ecu.dtcs.set(Dtc.SLOT_CHECKSUM, "again")
    assert ecu.ask("19 02 04") == "59 02 2F 06 01 00 2F"


def test_14_clears_all_one_or_is_31(ecu: Bench) -> None:
    ecu.dtcs.set(Dtc.BOOT_FAILED, "seen")
    ecu.dtcs.set(Dtc.ROLLED_BACK, "seen")
    assert ecu.ask("14 16 01 00") == "54"
    assert ecu.ask("19 02 FF") == "59 02 2F 16 02 00 2F"
    assert ecu.ask("14 12 34 56") == "7F 14 31"
    assert ecu.ask("14 FF FF FF") == "54"
    assert ecu.ask("19 02 FF") == "59 02 2F"


def extended(time: str, *, count: int, job: str, text: str) -> str:
    seconds = int(datetime.fromisoformat(time).timestamp()).to_bytes(4, "big")
    records = b"\x01" + bytes((count,)) + seconds
    records += b"\x02" + bytes((len(job),)) + job.encode() + b"\x03" + bytes((len(text),)) + text.encode()
    return records.hex(" ").upper()


def test_19_06_gives_count_time_job_and_text_of_a_code(ecu: Bench) -> None:
    ecu.nvm.update(job_id="job-7")
    ecu.dtcs.set(Dtc.BOOT_FAILED, "first")
    ecu.dtcs.set(Dtc.BOOT_FAILED, "it did not come up")
    records = extended("2026-01-01T00:00:00+00:00", count=2, job="job-7", text="it did not come up")
    assert ecu.ask("19 06 16 01 00 FF") == f"59 06 16 01 00 2F {records}"
    assert ecu.ask("19 06 16 01 00 02") == "59 06 16 01 00 2F 02 05 6A 6F 62 2D 37"


def test_19_06_of_a_code_that_was_never_set_has_no_record(ecu: Bench) -> None:
    assert ecu.ask("19 06 16 01 00 FF") == "59 06 16 01 00 00"


@pytest.mark.parametrize("request_", ["19 06 12 34 56 FF", "19 06 16 01 00 04"])
def test_19_06_of_an_unknown_code_or_record_is_31(ecu: Bench, request_: str) -> None:
    assert ecu.ask(request_) == "7F 19 31"


def test_what_failed_while_dtc_setting_was_off_is_stored_once_it_is_on(ecu: Bench) -> None:
    ecu.must("10 03")
    ecu.must("85 02")
    ecu.nvm.update(job_id="job-7")
    ecu.dtcs.set(Dtc.SUPPLY_LOW, "8 V")
    assert ecu.ask("19 02 FF") == "59 02 2F"
    ecu.nvm.update(job_id="job-8")
    ecu.utc = "2026-01-01T00:01:00+00:00"
    ecu.must("10 01")
    assert ecu.ask("19 02 FF") == "59 02 2F 05 62 00 2F"
    records = extended("2026-01-01T00:00:00+00:00", count=1, job="job-7", text="8 V")
    assert ecu.ask("19 06 05 62 00 FF") == f"59 06 05 62 00 2F {records}", "time and job of the failure"


def test_what_has_passed_while_dtc_setting_was_off_is_not_stored(ecu: Bench) -> None:
    ecu.must("10 03")
    ecu.must("85 02")
    ecu.dtcs.set(Dtc.SUPPLY_LOW, "8 V")
    ecu.dtcs.passed(Dtc.SUPPLY_LOW)
    ecu.must("85 01")
    assert ecu.ask("19 02 FF") == "59 02 2F"


@pytest.mark.parametrize("dtc", [dtc for dtc in Dtc if dtc not in (Dtc.SUPPLY_LOW, Dtc.SUPPLY_HIGH)])
def test_programming_errors_are_stored_at_once_although_dtc_setting_is_off(ecu: Bench, dtc: Dtc) -> None:
    ecu.must("10 03")
    ecu.must("85 02")
    ecu.dtcs.set(dtc, "seen")
    ecu.boot()  # power goes: nothing was kept in RAM
    assert ecu.dtcs.with_status(0x08) == [(dtc, 0x2C)]


def test_an_image_that_a_gateway_had_refused_is_stored_after_its_next_image(
    ecu: Bench, old_image: bytes, new_image: bytes
) -> None:
    """The sequence of a real update: DTC setting off, a refusal, the right image, activation, reset."""
    ecu.must("10 03")
    ecu.must("85 02")
    assert ecu.stage(old_image, manifest=Manifest(new_image)) == 2
    assert ecu.trial(new_image).slot == 1
    assert ecu.ask("19 02 08") == "59 02 2F 06 02 00 2C"


def test_what_was_cleared_while_dtc_setting_was_off_stays_cleared(ecu: Bench) -> None:
    ecu.must("10 03")
    ecu.must("85 02")
    ecu.dtcs.set(Dtc.SUPPLY_LOW, "8 V")
    ecu.must("14 FF FF FF")
    ecu.must("85 01")
    assert ecu.ask("19 02 FF") == "59 02 2F"
