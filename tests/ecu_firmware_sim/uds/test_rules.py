"""The general rules of the server, in the standard's order, and what is sent at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otabench.ecu_firmware_sim.uds.codes import SILENT_WHEN_FUNCTIONAL
from otabench.ecu_firmware_sim.uds.server import SERVICES, PendingResponse
from tests.ecu_firmware_sim.factory import Bench


def test_services_of_the_profile_are_all_there_and_no_others() -> None:
    assert sorted(SERVICES) == [0x10, 0x11, 0x14, 0x19, 0x22, 0x27, 0x28, 0x2E, 0x31, 0x34, 0x36, 0x37, 0x3E, 0x85]


def test_an_unknown_service_is_11(ecu: Bench) -> None:
    for sid in set(range(0x100)) - set(SERVICES):
        assert ecu.send(bytes((sid, 0x01))) == bytes((0x7F, sid, 0x11))


@pytest.mark.parametrize(
    "request_", ["27 01", "28 03 01", "2E F1 84 00", "31 01 02 03", "34", "36 01 00", "37", "85 02"]
)
def test_a_service_of_another_session_is_7f(ecu: Bench, request_: str) -> None:
    assert ecu.ask(request_) == f"7F {request_[:2]} 7F"


@pytest.mark.parametrize("request_", ["34 00 44", "36 01 00", "37", "2E F1 84 26 01 01 41"])
def test_a_protected_service_while_locked_is_33(ecu: Bench, request_: str) -> None:
    ecu.must("10 02")
    assert ecu.ask(request_) == f"7F {request_[:2]} 33"


def test_session_is_judged_before_security_and_security_before_length(ecu: Bench) -> None:
    assert ecu.ask("34") == "7F 34 7F"
    ecu.must("10 02")
    assert ecu.ask("34") == "7F 34 33"
    ecu.unlock()
    assert ecu.ask("34") == "7F 34 13"


def test_length_is_judged_before_sub_function(ecu: Bench) -> None:
    assert ecu.ask("10") == "7F 10 13"
    assert ecu.ask("10 55 00") == "7F 10 12"
    assert ecu.ask("10 01 00") == "7F 10 13"


LENGTHS = [
    "10",
    "10 03 00",
    "11",
    "11 01 00",
    "14 FF FF",
    "14 FF FF FF FF",
    "19",
    "19 02",
    "19 0A 00",
    "22",
    "22 F1",
    "22 F1 89 F1",
]


@pytest.mark.parametrize("request_", [*LENGTHS, "3E", "3E 00 00"])
def test_a_wrong_length_is_13(ecu: Bench, request_: str) -> None:
    assert ecu.ask(request_) == f"7F {request_[:2]} 13"


PROTECTED_LENGTHS = [
    "27",
    "27 01 00",
    "27 02 00",
    "28 03",
    "31 01 02",
    "31 01 02 02 00",
    "31 01 FF 00 44",
    "85",
    "85 02 00",
]


@pytest.mark.parametrize("request_", [*PROTECTED_LENGTHS, "2E F1 84", "34 00 44 00", "36 01", "37 00"])
def test_a_wrong_length_is_13_in_the_programming_session(ecu: Bench, request_: str) -> None:
    ecu.unlock()
    assert ecu.ask(request_) == f"7F {request_[:2]} 13"


@pytest.mark.parametrize(
    "request_", ["10 04", "11 02", "19 01 FF", "27 03", "28 04 01", "31 02 02 02", "3E 01", "85 03"]
)
def test_an_unknown_sub_function_is_12(ecu: Bench, request_: str) -> None:
    ecu.unlock()
    assert ecu.ask(request_) == f"7F {request_[:2]} 12"


def test_the_suppress_bit_silences_positive_responses_only(ecu: Bench) -> None:
    assert ecu.send("3E 80") is None
    assert ecu.send("10 83") is None
    assert ecu.ask("22 F1 86") == "62 F1 86 03"
    assert ecu.ask("10 84") == "7F 10 12"


def test_services_without_sub_function_have_no_suppress_bit(ecu: Bench) -> None:
    assert ecu.send("22 F1 89") is not None
    ecu.unlock()
    assert ecu.request_download(100, address=0xF00000)[0] == 0x74
    assert ecu.send(bytes((0x36, 0x81)) + bytes(10)) == b"\x7f\x36\x73"


FUNCTIONAL_SILENCE = [
    ("99 00", 0x11),
    ("10 55", 0x12),
    ("22 AB CD", 0x31),
    ("31 01 02 03", 0x7F),
]


@pytest.mark.parametrize(("request_", "nrc"), FUNCTIONAL_SILENCE)
def test_a_functional_request_is_not_answered_with_11_12_31_7e_7f(ecu: Bench, request_: str, nrc: int) -> None:
    assert ecu.ask(request_).endswith(f"{nrc:02X}")
    assert nrc in SILENT_WHEN_FUNCTIONAL
    assert ecu.send(request_, functional=True) is None


def test_a_functional_request_is_answered_otherwise(ecu: Bench) -> None:
    assert ecu.send("10 03", functional=True) == bytes.fromhex("50 03 00 32 01 F4")
    assert ecu.send("3E 00", functional=True) == b"\x7e\x00"
    assert ecu.send("3E", functional=True) == b"\x7f\x3e\x13"


def test_an_empty_request_is_no_request(ecu: Bench) -> None:
    assert ecu.send(b"") is None


def test_work_that_takes_long_is_announced_and_then_always_answered(ecu: Bench) -> None:
    ecu.unlock()
    answer = ecu.server.handle(bytes.fromhex("31 81 02 02"), functional=False, now_s=ecu.now_s)
    assert isinstance(answer, PendingResponse)
    assert answer.announcement == b"\x7f\x31\x78"
    response = answer.work()
    assert response == bytes.fromhex("71 01 02 02 01")
    assert answer.final(response, announced=True) == response
    assert answer.final(response, announced=False) is None


def test_after_78_a_functional_request_is_answered_with_31_too(ecu: Bench) -> None:
    ecu.unlock()
    outside = bytes.fromhex("31 01 FF 00 44 00 00 00 00 00 00 10 00")
    answer = ecu.server.handle(outside, functional=True, now_s=ecu.now_s)
    assert isinstance(answer, PendingResponse)
    response = answer.work()
    assert response == b"\x7f\x31\x31"
    assert answer.final(response, announced=True) == response
    assert answer.final(response, announced=False) is None, "the tester got no 78 before"


@pytest.mark.parametrize("nrc", sorted(SILENT_WHEN_FUNCTIONAL))
def test_after_78_no_code_is_held_back(nrc: int) -> None:
    pending = PendingResponse(0x31, work=lambda: b"", functional=True, suppressed=True)
    response = bytes((0x7F, 0x31, nrc))
    assert pending.final(response, announced=True) == response
    assert pending.final(response, announced=False) is None


@pytest.mark.parametrize("functional", [False, True], ids=["physical", "functional"])
def test_a_request_while_work_is_under_way_is_21_and_tester_present_is_taken(ecu: Bench, functional: bool) -> None:
    ecu.unlock()
    answer = ecu.server.handle(bytes.fromhex("31 01 02 02"), functional=False, now_s=ecu.now_s)
    assert isinstance(answer, PendingResponse)
    for request in ("22 F1 89", "10 03", "10 83", "BA 00", "3E 00", "3E"):
        assert ecu.send(request, functional=functional) == bytes((0x7F, int(request[:2], 16), 0x21))
    assert ecu.send("3E 80", functional=functional) is None
    ecu.now_s += 100  # the session does not end meanwhile
    ecu.server.tick(ecu.now_s)
    answer.work()
    ecu.server.completed(now_s=ecu.now_s)
    assert ecu.ask("22 F1 86") == "62 F1 86 02"


def test_an_ecu_without_application_has_the_programming_session_only(new_ecu: Callable[..., Bench]) -> None:
    ecu = new_ecu()
    ecu.flash.flip_bit(ecu.layout.slot_offset(0) + 0x300)
    assert ecu.boot().slot is None
    assert ecu.ask("22 F1 86") == "62 F1 86 02"
    assert ecu.ask("10 01") == "7F 10 12"
    assert ecu.ask("10 03") == "7F 10 12"
    assert ecu.ask("10 02")[:5] == "50 02"
    assert ecu.must("22 F1 89")[3:] == b"0.0.0"
    ecu.now_s += 6
    assert ecu.ask("22 F1 86") == "62 F1 86 02"
