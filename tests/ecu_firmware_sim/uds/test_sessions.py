"""Sessions, S3, reset, communication control, tester present, DTC setting."""

from __future__ import annotations

import pytest

from otabench.ecu_firmware_sim.uds.codes import ResetType
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.ecu_firmware_sim.uds.state import MessageKind
from tests.ecu_firmware_sim.factory import Bench


def test_10_reports_p2_and_p2_star(ecu: Bench) -> None:
    assert ecu.ask("10 02") == "50 02 00 32 01 F4"


def test_s3_ends_a_session_that_is_left_alone_and_locks(ecu: Bench) -> None:
    ecu.unlock()
    ecu.now_s += 4.9
    assert ecu.ask("3E 00") == "7E 00"
    ecu.now_s += 4.9
    assert ecu.ask("22 F1 86") == "62 F1 86 02"
    ecu.now_s += 5.0
    assert ecu.ask("22 F1 86") == "62 F1 86 01"
    ecu.must("10 02")
    assert ecu.ask("37") == "7F 37 33"


def test_s3_stands_still_while_a_request_is_received(ecu: Bench) -> None:
    ecu.unlock()
    start_s = ecu.now_s
    while ecu.now_s < start_s + 30:
        ecu.now_s += 1
        ecu.server.tick(ecu.now_s, receiving=True)
    assert ecu.ask("36 01 00") == "7F 36 24", "in the session, and unlocked"
    ecu.now_s += 4.9
    assert ecu.ask("22 F1 86") == "62 F1 86 02", "S3 runs anew since the answer"


def test_s3_runs_anew_after_a_reception_that_failed(ecu: Bench) -> None:
    ecu.unlock()
    ecu.now_s += 5.1
    ecu.server.tick(ecu.now_s, receiving=True)
    ecu.now_s += 1
    ecu.server.tick(ecu.now_s)
    ecu.now_s += 4.9
    ecu.server.tick(ecu.now_s)
    assert ecu.server.dialogue.unlocked
    ecu.now_s += 0.2
    ecu.server.tick(ecu.now_s)
    assert not ecu.server.dialogue.unlocked


def test_s3_does_not_run_in_the_default_session(ecu: Bench) -> None:
    ecu.ask("3E 00")
    assert ecu.server.next_deadline_s is None


def test_s3_restores_dtc_setting_and_communication_and_ends_a_transfer(ecu: Bench) -> None:
    ecu.unlock()
    ecu.must("85 02")
    ecu.must("28 03 01")
    ecu.erase()
    assert ecu.request_download(1000)[0] == 0x74
    ecu.now_s += 5.0
    ecu.server.tick(ecu.now_s)
    assert ecu.dtcs.setting_on
    assert silent(ecu) == (False, False)
    assert ecu.server.dialogue.transfer is None
    assert ecu.states == "CONFIRMED INVALID"


@pytest.mark.parametrize("session", ["10 01", "10 02", "10 03"])
def test_a_change_of_session_locks_and_ends_a_transfer(ecu: Bench, session: str) -> None:
    ecu.unlock()
    ecu.erase()
    assert ecu.request_download(1000)[0] == 0x74
    ecu.must(session)
    assert ecu.server.dialogue.transfer is None
    assert not ecu.server.dialogue.unlocked


def test_communication_control_stays_between_the_other_sessions(ecu: Bench) -> None:
    ecu.must("10 03")
    ecu.must("28 03 01")
    ecu.must("10 02")
    assert silent(ecu) == (True, False)
    ecu.must("10 01")
    assert silent(ecu) == (False, False)


def silent(ecu: Bench) -> tuple[bool, bool]:
    """Return whether normal messages are suppressed, and whether those of network management are."""
    communication = ecu.server.dialogue.communication
    return not communication.sends(MessageKind.NORMAL), not communication.sends(MessageKind.NETWORK_MANAGEMENT)


@pytest.mark.parametrize(
    ("requests", "now"),
    [
        ("28 03 01", (True, False)),
        ("28 03 02", (False, True)),
        ("28 03 03", (True, True)),
        ("28 01 F1", (True, False)),
        ("28 02 03", (False, False)),
        ("28 03 01, 28 00 02", (True, False)),
        ("28 03 03, 28 00 01", (False, True)),
        ("28 03 03, 28 00 03", (False, False)),
        ("28 03 03, 28 02 02", (True, False)),
    ],
)
def test_28_acts_on_the_messages_of_its_communication_type_only(
    ecu: Bench, requests: str, now: tuple[bool, bool]
) -> None:
    ecu.must("10 03")
    for request in requests.split(", "):
        ecu.must(request)
    assert silent(ecu) == now


@pytest.mark.parametrize("kind", ["00", "04", "11", "E1", "F0", "F4"])
def test_28_with_an_unknown_communication_type_or_another_subnet_is_31_and_changes_nothing(
    ecu: Bench, kind: str
) -> None:
    ecu.must("10 03")
    assert ecu.ask(f"28 03 {kind}") == "7F 28 31"
    assert silent(ecu) == (False, False)


@pytest.mark.parametrize(("request_", "kind"), [("11 01", ResetType.HARD), ("11 03", ResetType.SOFT)])
def test_11_is_answered_and_then_resets(ecu: Bench, request_: str, kind: ResetType) -> None:
    assert ecu.ask(request_) == f"51 {kind:02X}"
    assert ecu.server.reset_due is kind


def test_while_dtc_setting_is_off_none_is_stored(ecu: Bench) -> None:
    ecu.must("10 03")
    assert ecu.ask("85 02") == "C5 02"
    ecu.dtcs.set(Dtc.SUPPLY_LOW, "seen")
    assert ecu.ask("19 02 FF") == "59 02 2F"
    assert ecu.ask("85 01") == "C5 01"
    ecu.dtcs.set(Dtc.SUPPLY_LOW, "seen")
    assert ecu.ask("19 02 FF") == "59 02 2F 05 62 00 2F"
