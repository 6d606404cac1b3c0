"""Every negative response code of this server, one test a code, named after it; where a code has more causes, see the tests of
its service. 10 (generalReject) is in ``test_behaviour``: it is the answer of the loop, not of a rule.
"""

from __future__ import annotations

import pytest

from otabench.ecu_firmware_sim.uds.codes import Nrc
from otabench.ecu_firmware_sim.uds.server import PendingResponse
from tests.ecu_firmware_sim.factory import Bench

ERASE = "31 01 FF 00 44 00 10 00 00 00 00 40 00"
DOWNLOAD = "34 00 44 00 10 00 00 00 00 00 08"
WRONG_KEY = b"\x27\x02" + bytes(32)


@pytest.fixture
def ready(ecu: Bench) -> Bench:
    """Unlocked, the slot erased."""
    ecu.unlock()
    ecu.erase()
    return ecu


def test_11_service_not_supported(ecu: Bench) -> None:
    assert ecu.ask("BA 00") == "7F BA 11"


def test_12_sub_function_not_supported(ecu: Bench) -> None:
    assert ecu.ask("3E 01") == "7F 3E 12"


def test_13_incorrect_message_length(ecu: Bench) -> None:
    assert ecu.ask("3E 00 00") == "7F 3E 13"


def test_14_response_too_long(ecu: Bench) -> None:
    assert ecu.ask(b"\x22" + b"\xf1\xa1" * 200) == "7F 22 14"


def test_21_busy_repeat_request_while_a_78_is_out(ecu: Bench) -> None:
    ecu.unlock()
    ecu.flash.erase_sector_s = 1.0
    pending = ecu.server.handle(bytes.fromhex(ERASE), functional=False, now_s=ecu.now_s)
    assert isinstance(pending, PendingResponse)
    assert ecu.ask("22 F1 89") == "7F 22 21"
    assert ecu.ask("3E 00") == "7F 3E 21"
    assert ecu.send("22 F1 89", functional=True) == b"\x7f\x22\x21"


def test_22_conditions_not_correct_where_nothing_waits_to_be_confirmed(ecu: Bench) -> None:
    ecu.unlock("10 03")
    assert ecu.ask("31 01 02 11") == "7F 31 22"


@pytest.mark.parametrize("condition", ["speed_km_h", "engine_running"])
def test_22_programming_session_while_driving_or_with_the_engine_running(ecu: Bench, condition: str) -> None:
    conditions = ecu.server.device.conditions
    setattr(conditions, condition, 1)
    assert ecu.ask("10 02") == "7F 10 22"
    assert ecu.ask("10 03")[:2] == "50"
    setattr(conditions, condition, 0)
    assert ecu.ask("10 02")[:2] == "50"
    setattr(conditions, condition, 1)
    assert ecu.ask("10 02")[:2] == "50", "who is in it may stay: half a slot is written"


def test_24_request_sequence_error(ready: Bench) -> None:
    assert ready.ask("36 01 00") == "7F 36 24"


def test_31_request_out_of_range(ecu: Bench) -> None:
    assert ecu.ask("22 F1 FF") == "7F 22 31"


def test_33_security_access_denied(ecu: Bench) -> None:
    ecu.must("10 02")
    assert ecu.ask(DOWNLOAD) == "7F 34 33"


def test_35_invalid_key_36_exceeded_number_of_attempts_37_required_time_delay_not_expired(ecu: Bench) -> None:
    ecu.must("10 02")
    answers = []
    for _ in range(3):
        ecu.must("27 01")
        answers.append(ecu.ask(WRONG_KEY))
    assert [*answers, ecu.ask("27 01")] == ["7F 27 35", "7F 27 35", "7F 27 36", "7F 27 37"]


def test_70_upload_download_not_accepted_where_there_is_no_image_to_patch(ready: Bench) -> None:
    ready.firmware.running = None
    assert ready.ask("34 10 44 00 10 00 00 00 00 10 00") == "7F 34 70"


def test_71_transfer_data_suspended(ready: Bench) -> None:
    ready.must(DOWNLOAD)
    assert ready.ask("36 01" + " 00" * 9) == "7F 36 71"


def test_72_general_programming_failure(ready: Bench) -> None:
    ready.must("34 00 44 00 10 00 00 00 00 10 00")
    ready.flash.memory[ready.layout.slot_offset(1) + 0x200] = 0  # a cell that was not erased
    assert ready.ask(b"\x36\x01" + bytes(0x800)) == "7F 36 72"


def test_73_wrong_block_sequence_counter(ready: Bench) -> None:
    ready.must(DOWNLOAD)
    assert ready.ask("36 02 00") == "7F 36 73"


def test_78_response_pending(ecu: Bench) -> None:
    ecu.unlock()
    ecu.flash.erase_sector_s = 1.0
    pending = ecu.server.handle(bytes.fromhex(ERASE), functional=False, now_s=ecu.now_s)
    assert isinstance(pending, PendingResponse)
    assert pending.announcement == b"\x7f\x31\x78"


def test_7e_sub_function_not_supported_in_active_session(ecu: Bench) -> None:
    ecu.must("10 02")
    assert ecu.ask("11 03") == "7F 11 7E"
    ecu.must("10 03")
    assert ecu.ask("11 03") == "51 03"


def test_7f_service_not_supported_in_active_session(ecu: Bench) -> None:
    assert ecu.ask("27 01") == "7F 27 7F"


@pytest.mark.parametrize(("supply_v", "nrc"), [(16.1, "92"), (8.9, "93")], ids=["92-too-high", "93-too-low"])
def test_92_voltage_too_high_93_voltage_too_low(ready: Bench, supply_v: float, nrc: str) -> None:
    conditions = ready.server.device.conditions
    conditions.supply_v = supply_v
    assert ready.ask(ERASE) == f"7F 31 {nrc}"
    assert ready.ask(DOWNLOAD) == f"7F 34 {nrc}"
    assert ready.states == "CONFIRMED EMPTY", "nothing was touched"
    conditions.supply_v = 13.5
    ready.must(DOWNLOAD)
    conditions.supply_v = supply_v
    assert ready.ask("36 01" + " 00" * 8) == f"7F 36 {nrc}"
    conditions.supply_v = 13.5
    assert ready.ask("36 01" + " 00" * 8) == "76 01", "the same block is taken once the supply is back"


def test_0203_reports_every_unmet_condition(ecu: Bench) -> None:
    conditions = ecu.server.device.conditions
    ecu.must("10 03")
    assert ecu.ask("31 01 02 03") == "71 01 02 03 00"
    conditions.speed_km_h, conditions.engine_running, conditions.supply_v = 30.0, True, 8.0
    assert ecu.ask("31 01 02 03") == "71 01 02 03 03 01 02 03"


def test_no_other_code_is_known_to_this_server() -> None:
    # 34 and 50 to 58: bootloaders of other kinds authenticate by certificate.
    codes = "10 11 12 13 14 21 22 24 31 33 34 35 36 37 50 51 52 53 54 58 70 71 72 73 78 7E 7F 92 93"
    assert " ".join(f"{nrc:02X}" for nrc in Nrc) == codes
