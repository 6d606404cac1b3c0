"""What every ECU of the bench answers: positive, negative, and not at all."""

from __future__ import annotations

import time

import can
import pytest

from otabench.bench.bus.frame import EFF_MASK
from otabench.bench.pytest_plugin.can_log import CanLog
from otabench.bench.pytest_plugin.handles import Ecu, Faults
from otabench.bench.pytest_plugin.shared_bench import SharedBench
from otabench.bench.pytest_plugin.uds import IsoTpLink
from otabench.bench.topology.entries import EcuEntry
from tests.diagnostics.conftest import Ask, on_each_ecu_in_turn

PADDING = 0xCC
WINDOW = "44 00 10 00 00"


@pytest.mark.parametrize(
    ("ecu", "session", "request_", "answer"),
    on_each_ecu_in_turn(
        ("01", "BA 00", "7F BA 11"),
        ("01", "10 55", "7F 10 12"),
        ("01", "10", "7F 10 13"),
        ("01", "22 F1", "7F 22 13"),
        ("01", "22 F1 FF", "7F 22 31"),
        ("01", "27 01", "7F 27 7F"),
        ("01", "31 01 FF 00", "7F 31 7F"),
        ("01", "34 00 44 00 10 00 00 00 00 10 00", "7F 34 7F"),
        ("02", "11 03", "7F 11 7E"),
        ("02", "27 02" + " 00" * 32, "7F 27 24"),
        ("02", "2E F1 84 26 11 24 31", "7F 2E 33"),
        ("02", "34 00 44 00 10 00 00 00 00 10 00", "7F 34 33"),
        ("02", "31 01 FF 00 44 00 10 00 00 00 00 10 00", "7F 31 33"),
        ("03", "31 01 77 77", "7F 31 31"),
        ("03", "3E 55", "7F 3E 12"),
    ),
    indirect=["ecu"],
)
def test_a_request_that_does_not_fit_is_refused_with_its_code(
    ask: Ask, ecu: Ecu, session: str, request_: str, answer: str
) -> None:
    if session == "02":
        ask("10 03")
    ask(f"10 {session}")
    assert ask(request_) == answer


def test_several_identifiers_are_answered_together_and_unknown_ones_left_out(ask: Ask, ecu: Ecu) -> None:
    answer = bytes.fromhex(ask("22 F1 91 F1 FF F1 8C"))
    serial = ecu.bench.topology.serial_of(ecu.name).encode()
    assert answer == b"\x62\xf1\x91" + ecu.entry.hardware_id.encode() + b"\xf1\x8c" + serial


def test_it_is_the_ecu_of_the_bench_file(ecu: Ecu) -> None:
    found = ecu.identity()
    assert (found.serial, found.hardware_id) == (ecu.bench.topology.serial_of(ecu.name), ecu.entry.hardware_id)
    assert found.active.state == "CONFIRMED"


def test_a_functional_request_is_answered_by_every_ecu_of_the_bus(
    isotp: IsoTpLink, ecu: Ecu, can_bus: can.BusABC, can_log: CanLog
) -> None:
    since_us = broadcast(ecu, can_bus, "3E 00")
    for _, entry in _beside(ecu):
        wait_for_answer(can_log, ecu, entry.response_id, since_us)
    assert answers(ecu, can_log, since_us=since_us) == {name: ["02 7E 00"] for name, _ in _beside(ecu)}


@pytest.mark.parametrize(
    ("ecu", "request_"), on_each_ecu_in_turn(("BA 00",), ("10 55",), ("22 F1 FF",), ("27 01",)), indirect=["ecu"]
)
def test_a_functional_request_that_does_not_apply_is_not_answered(
    isotp: IsoTpLink, ecu: Ecu, can_bus: can.BusABC, can_log: CanLog, request_: str
) -> None:
    since_us = broadcast(ecu, can_bus, request_)
    broadcast(ecu, can_bus, "3E 00")  # which is answered: what the first one got stands before that
    for _, entry in _beside(ecu):
        wait_for_answer(can_log, ecu, entry.response_id, since_us)
    assert answers(ecu, can_log, since_us=since_us) == {name: ["02 7E 00"] for name, _ in _beside(ecu)}


def test_application_frames_are_silenced_by_28_and_come_back(ask: Ask, ecu: Ecu, can_log: CanLog) -> None:
    if not ecu.entry.periodic:
        pytest.skip("this ECU sends no application frames")
    frame, bus = ecu.entry.periodic[0], ecu.entry.bus
    can_log.wait_for(frame.id, bus=bus)
    ask("10 03")
    assert ask("28 03 01") == "68 03"
    before = len(can_log.frames(bus, can_id=frame.id))
    time.sleep(frame.period_ms / 1000 * 3)
    assert len(can_log.frames(bus, can_id=frame.id)) == before
    assert ask("28 00 01") == "68 00"
    since_us = time.time_ns() // 1000
    can_log.wait_for(lambda found: found.can_id == frame.id and found.timestamp_us > since_us, bus=bus)


def test_trouble_codes_are_read_and_cleared(ask: Ask) -> None:
    assert ask("14 FF FF FF") == "54"
    assert ask("19 02 FF").startswith("59 02 ")
    assert ask("19 02 08") == ask("19 02 08")[:8], "none is stored"
    assert ask("14 12 34 56") == "7F 14 31"
    ask("10 03")
    assert ask("85 02") == "C5 02"
    assert ask("85 01") == "C5 01"


def test_a_fingerprint_stays_over_a_reset(unlocked: Ask, ecu: Ecu) -> None:
    assert unlocked("2E F1 84 26 11 24 42 45 4E 43 48") == "6E F1 84"
    assert unlocked("11 01") == "51 01"
    ecu.wait_until_up()
    assert unlocked("22 F1 84") == "62 F1 84 26 11 24 42 45 4E 43 48"


def test_a_transfer_keeps_the_standards_rules_and_the_running_slot(unlocked: Ask, ecu: Ecu) -> None:
    running = bytes.fromhex(unlocked("22 F1 A1"))[3]
    assert unlocked("36 01 00") == "7F 36 24", "nothing was requested"
    assert unlocked("37") == "7F 37 24"
    assert unlocked(f"34 00 {WINDOW} 7F FF FF FF") == "7F 34 31"
    assert unlocked(f"31 01 FF 00 {WINDOW} 00 00 10 00") == "71 01 FF 00 00"
    assert unlocked(f"34 00 {WINDOW} 00 00 00 20").startswith("74 20 ")
    assert unlocked("36 02" + " 11" * 16) == "7F 36 73", "the first block is 01"
    assert unlocked("36 01" + " 11" * 16) == "76 01"
    assert unlocked("36 01" + " 11" * 16) == "76 01", "a repeat of the last block"
    assert unlocked("37") == "7F 37 24", "half of it is missing"
    assert unlocked("36 02" + " 22" * 17) == "7F 36 71", "more than was announced"
    unlocked("11 01")
    ecu.wait_until_up()
    found = ecu.identity()
    assert found.active_slot == running
    assert found.active.state == "CONFIRMED"
    assert found.slots[1 - running].state == "INVALID"


@pytest.mark.feature("fault")
def test_a_response_code_is_injected_once(ask: Ask, ecu: Ecu, fault: Faults) -> None:
    fault("nrc", service=0x22, nrc=0x22, count=1, ecu=ecu.name)
    assert ask("22 F1 86") == "7F 22 22"
    assert ask("22 F1 86") == "62 F1 86 01"


@pytest.mark.parametrize("state", ["default", "programming", "application", "off", "default"])
def test_a_state_is_asked_for_and_proven(bench: SharedBench, state: str) -> None:
    bench.transition(state)
    assert bench.state == state


def _beside(ecu: Ecu) -> list[tuple[str, EcuEntry]]:
    """Return the ECUs of its bus, itself included."""
    return [(name, entry) for name, entry in ecu.bench.topology.ecus.items() if entry.bus == ecu.entry.bus]


def answers(ecu: Ecu, can_log: CanLog, *, since_us: int) -> dict[str, list[str]]:
    """Return the frames of each ECU of the bus since a moment, as hex without padding.

    Earlier ones may be of the transition into the test's state, where the test before left another.
    """
    return {
        name: [
            frame.data[: 1 + frame.data[0]].hex(" ").upper()
            for frame in can_log.frames(ecu.entry.bus, can_id=entry.response_id)
            if frame.timestamp_us >= since_us
        ]
        for name, entry in _beside(ecu)
    }


def wait_for_answer(can_log: CanLog, ecu: Ecu, response_id: int, since_us: int) -> None:
    """Wait for a frame with that identifier after a moment."""
    can_log.wait_for(
        lambda frame: frame.can_id & EFF_MASK == response_id and frame.timestamp_us >= since_us, bus=ecu.entry.bus
    )


def broadcast(ecu: Ecu, bus: can.BusABC, request: str) -> int:
    """Send one functional single frame with normal addressing; return the moment before, in µs since 1970."""
    since_us = time.time_ns() // 1000
    payload = bytes.fromhex(request)
    data = (bytes((len(payload),)) + payload).ljust(8, bytes((PADDING,)))
    functional_id = ecu.entry.functional_id
    bus.send(can.Message(arbitration_id=functional_id, is_extended_id=functional_id > 0x7FF, data=data))
    return since_us
