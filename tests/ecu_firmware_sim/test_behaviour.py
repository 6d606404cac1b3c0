"""One behaviour on every line: both transports, three addressings, classic CAN and CAN FD, in a pairwise choice of lines
(`make test`) or on all of them (`make test-all`).

The ECU's loop and transport in this process, the gateway's own transport as the tester; frames written by hand where an end
misbehaves. ``kernel``: CAN_ISOTP on vcan0; ``user``: can-isotp, on vcan0 or on a bus of this process.
"""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path
from typing import Any

import can
import pytest

from otabench.bench.uds.transport.errors import (
    ConsecutiveFrameTimeout,
    NoFlowControl,
    ReceiverOverflow,
    WrongSequenceNumber,
)
from otabench.ecu_firmware_sim.uds import data as data_services
from otabench.ecu_firmware_sim.uds.codes import Did
from otabench.ecu_firmware_sim.uds.state import MessageKind
from otabench.proto.process_config import IsoTpConfig
from tests.acting import acting
from tests.ecu_firmware_sim.factory import Keys
from tests.ecu_firmware_sim.line import LINES, ON_TWO_LINES_A_TRANSPORT, SLOT_BYTES, TIMING, Line, Rig, erase_request
from tests.ecu_firmware_sim.on_the_line import OnTheLine

SCHEDULING_S = 0.05
"""What a busy machine may add to a deadline."""
N_CR_S = 1.0
"""How long both ISO-TP stacks of the ECU wait for a consecutive frame."""


# -- messages


def test_a_long_answer_arrives_whole(rig: Rig) -> None:
    dids = [
        Did.SOFTWARE_VERSION,
        Did.VIN,
        Did.SERIAL_NUMBER,
        Did.HARDWARE_ID,
        Did.SUPPLIER_SOFTWARE_VERSION,
        Did.SLOT_TABLE,
    ]
    answer = bytes.fromhex(rig.ask(b"\x22" + b"".join(did.to_bytes(2, "big") for did in dids)))
    assert len(answer) > 90
    assert [did.to_bytes(2, "big") in answer for did in dids] == [True] * len(dids)


def test_a_request_of_4095_bytes_arrives_whole(rig: Rig) -> None:
    assert rig.ask(b"\x36\x01" + bytes(4093)) == "7F 36 7F"


# -- functional requests


@pytest.mark.parametrize(
    ("request_", "answer"), [("3E 00", "7E 00"), ("10 03", "50 03"), ("22 F1 86", "62 F1 86"), ("3E", "7F 3E 13")]
)
def test_a_functional_request_is_answered(rig: Rig, request_: str, answer: str) -> None:
    rig.broadcast(request_)
    assert rig.final().hex(" ").upper().startswith(answer)


@pytest.mark.parametrize(
    ("session", "request_", "nrc"),
    [
        ("10 01", "BA 00", "11"),
        ("10 01", "10 55", "12"),
        ("10 01", "22 F1 FF", "31"),
        ("10 02", "11 03", "7E"),
        ("10 01", "27 01", "7F"),
    ],
)
def test_a_functional_request_is_not_answered_with_this_code_and_a_physical_one_is(
    rig: Rig, session: str, request_: str, nrc: str
) -> None:
    rig.ask(session)
    assert rig.ask(request_) == f"7F {request_[:2]} {nrc}"
    rig.broadcast(request_)
    assert rig.hears_nothing()


def test_the_suppress_bit_silences_the_positive_response_only(rig: Rig) -> None:
    rig.send("10 83")
    rig.broadcast("3E 80")
    assert rig.hears_nothing()
    assert rig.ask("22 F1 86") == "62 F1 86 03"
    assert rig.ask("10 D5") == "7F 10 12"


# -- sessions and security


def test_a_session_reports_its_times(rig: Rig) -> None:
    assert rig.ask("10 03") == "50 03 00 32 00 14"


@ON_TWO_LINES_A_TRANSPORT
def test_s3_ends_a_session_unless_tester_present_keeps_it(rig: Rig) -> None:
    rig.unlock()
    for _ in range(8):  # longer than S3 in all; each pause is so much shorter that a busy machine may prolong it
        time.sleep(TIMING.s3_server_s / 6)
        rig.broadcast("3E 80")
    assert rig.ask("22 F1 86") == "62 F1 86 02"
    time.sleep(TIMING.s3_server_s + 0.2)  # the ECU starts S3 after its response, which may be after we have it
    assert rig.ask("22 F1 86") == "62 F1 86 01"
    rig.ask("10 02")
    assert rig.ask("37") == "7F 37 33"


@ON_TWO_LINES_A_TRANSPORT
def test_s3_switches_dtc_setting_and_communication_on_and_ends_a_transfer(rig: Rig) -> None:
    rig.unlock()
    ecu = OnTheLine(rig)
    for request in ("85 02", "28 03 01"):
        ecu.must(request)
    ecu.erase()
    assert ecu.request_download(100)[0] == 0x74
    assert not ecu.dtcs.setting_on and not ecu.server.dialogue.communication.sends(MessageKind.NORMAL)
    time.sleep(TIMING.s3_server_s + 0.2)
    assert ecu.ask("36 01 00") == "7F 36 7F"
    assert ecu.dtcs.setting_on and ecu.server.dialogue.communication.sends(MessageKind.NORMAL)
    rig.unlock()
    assert ecu.ask("36 01 00") == "7F 36 24"
    assert ecu.states == "CONFIRMED INVALID"


def consecutive_frames(rig: Rig, payload: bytes) -> list[bytes]:
    """Return what follows the first frame of ``payload``."""
    rest, room = payload[frame_bytes(rig) - 2 :], frame_bytes(rig) - 1
    parts = [rest[start : start + room] for start in range(0, len(rest), room)]
    return [bytes((0x20 | number & 0x0F,)) + part for number, part in enumerate(parts, start=1)]


@ON_TWO_LINES_A_TRANSPORT
def test_s3_stands_still_while_a_slow_request_is_received(rig: Rig) -> None:
    rig.unlock()
    request = b"\x36\x01" + bytes(198)
    with rig.instead_of_the_tester() as tester:
        tester.send((bytes((0x10, len(request))) + request)[: frame_bytes(rig)])
        assert tester.receive().data[0] == 0x30
        frames = consecutive_frames(rig, request)
        for number, frame in enumerate(frames, start=1):
            time.sleep(2.5 * TIMING.s3_server_s / len(frames))
            tester.send(frame)
            if number % 16 == 0:
                assert tester.receive().data[0] == 0x30
        assert bytes(tester.receive().data[:4]) == b"\x03\x7f\x36\x24", "unlocked still"


@ON_TWO_LINES_A_TRANSPORT
def test_s3_ends_the_session_of_a_tester_that_left_in_the_middle_of_a_request(rig: Rig) -> None:
    rig.unlock()
    with rig.instead_of_the_tester() as tester:
        tester.send(first_frame(rig, 200))
        assert tester.receive().data[0] == 0x30
        time.sleep(N_CR_S + TIMING.s3_server_s + 0.3)
    assert rig.ask("22 F1 86") == "62 F1 86 01"


def test_security_access_wrong_keys_delay_and_right_key(rig: Rig) -> None:
    rig.ask("10 02")
    answers = []
    for _ in range(3):
        rig.ask("27 01")
        answers.append(rig.ask(b"\x27\x02" + bytes(32)))
    assert answers == ["7F 27 35", "7F 27 35", "7F 27 36"]
    assert rig.ask("27 01") == "7F 27 37"
    time.sleep(TIMING.security_delay_s)
    rig.unlock()
    assert rig.ask("27 01") == "67 01" + " 00" * 16


# -- transfer


@ON_TWO_LINES_A_TRANSPORT
def test_the_block_sequence_counter_wraps_from_ff_to_00(rig: Rig) -> None:
    blocks = 258
    rig.unlock()
    rig.erase()
    assert rig.request_download(blocks * 4).startswith("74 20 0F FF")
    for number in range(1, blocks + 1):
        counter = number & 0xFF
        assert rig.ask(bytes((0x36, counter)) + number.to_bytes(4, "big")) == f"76 {counter:02X}"
    assert rig.ask("36 02" + " 00" * 4) == "76 02", "a repeat of the last block"
    assert rig.ask("36 05" + " 00" * 4) == "7F 36 73"
    assert rig.ask("37") == "77"
    start = rig.ecu.layout.slot_offset(1)
    written = bytes(rig.ecu.flash.memory[start : start + blocks * 4])
    assert written == b"".join(number.to_bytes(4, "big") for number in range(1, blocks + 1))


@pytest.mark.parametrize(("volts", "nrc"), [(17, "92"), (7.5, "93")])
def test_a_supply_out_of_range_stops_programming(rig: Rig, volts: float, nrc: str) -> None:
    rig.unlock()
    rig.fault("voltage", volts=volts)
    assert rig.erase() == f"7F 31 {nrc}"
    assert rig.request_download(16) == f"7F 34 {nrc}"
    assert rig.ask("31 01 02 03") == "71 01 02 03 01 03"


@pytest.mark.parametrize("fault", [{"kind": "speed", "km_h": 30}, {"kind": "engine-running"}], ids=["speed", "engine"])
def test_a_vehicle_in_use_does_not_enter_the_programming_session(rig: Rig, fault: dict[str, Any]) -> None:
    rig.fault(**fault)
    assert rig.ask("10 02") == "7F 10 22"
    rig.ask("10 03")
    assert rig.ask("31 01 02 03")[:15] == "71 01 02 03 01 "
    rig.ecu.call(rig.ecu.fault_effects.clear)
    assert rig.ask("10 02").startswith("50 02")


# -- response pending


def test_78_comes_before_p2_and_again_before_p2_star_until_the_answer(rig: Rig) -> None:
    rig.unlock()
    rig.fault("slow-flash", factor=120)  # a sector takes 0.12 s
    rig.send(erase_request(SLOT_BYTES))
    times = [time.monotonic()]
    assert rig.final() == b"\x71\x01\xff\x00\x00"
    times += [*rig.pending_s, time.monotonic()]
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert len(rig.pending_s) >= 3, "announced, and repeated more than once"
    assert gaps[0] < TIMING.p2_server_max_s + SCHEDULING_S
    assert max(gaps[1:]) < TIMING.p2_star_server_max_s
    assert times[-1] - times[0] > 2 * TIMING.p2_star_server_max_s


def test_after_78_the_answer_is_sent_though_it_was_to_be_suppressed_and_others_are_21_meanwhile(rig: Rig) -> None:
    rig.unlock()
    rig.fault("slow-flash", factor=60)
    rig.send(erase_request(SLOT_BYTES // 2, start=0x81))
    assert rig.receive() == b"\x7f\x31\x78"
    rig.broadcast("3E 80")
    rig.send("22 F1 89")
    answers = [rig.receive()]
    while answers[-1] != b"\x71\x01\xff\x00\x00":
        answers.append(rig.receive())
    assert b"\x7f\x22\x21" in answers
    assert rig.hears_nothing()


# -- the tester and a well-made or badly made ECU


def test_block_size_and_st_min_of_the_ecu_are_kept_by_the_tester(rig: Rig) -> None:
    payload = bytes(200 if rig.line.is_fd else 40)
    carried = frame_bytes(rig) - 1
    with rig.instead_of_the_ecu() as ecu:

        def take() -> None:
            left = len(payload) - (len(ecu.receive().data) - 2)
            number = 1
            while left > 0:
                ecu.send("30 02 14")  # two frames, 20 ms apart
                taken = [ecu.receive() for _ in range(min(2, -(-left // carried)))]
                assert [frame.data[0] & 0x0F for frame in taken] == [(number + n) & 0x0F for n in range(len(taken))]
                assert all(later.timestamp - sooner.timestamp > 0.015 for sooner, later in itertools.pairwise(taken))
                number, left = number + len(taken), left - carried * len(taken)

        with acting(take):
            rig.connection.send(payload)


def frame_bytes(rig: Rig) -> int:
    return (64 if rig.line.is_fd else 8) - rig.line.prefix_bytes


def test_wait_frames_of_the_ecu_are_honoured_by_the_tester(rig: Rig) -> None:
    with rig.instead_of_the_ecu() as ecu:

        def wait_then_take() -> None:
            ecu.receive()
            ecu.send("31 00 00", "31 00 00", "30 00 00")
            assert ecu.receive().data[0] == 0x21

        with acting(wait_then_take):
            rig.connection.send(bytes(70))


def test_an_ecu_that_refuses_the_length_is_named(rig: Rig) -> None:
    with rig.instead_of_the_ecu() as ecu:

        def refuse() -> None:
            ecu.receive()
            ecu.send("32 00 00")

        with acting(refuse), pytest.raises(ReceiverOverflow):
            rig.connection.send(bytes(70))


def test_a_wrong_sequence_number_of_the_ecu_is_named(rig: Rig) -> None:
    with rig.instead_of_the_ecu() as ecu:
        ecu.send(first_frame(rig, 200))
        assert ecu.receive().data[0] == 0x30
        ecu.send(b"\x23" + bytes(frame_bytes(rig) - 1))
        with pytest.raises(WrongSequenceNumber):
            rig.receive()


def first_frame(rig: Rig, length: int) -> bytes:
    start = bytes((0x10 | length >> 8, length & 0xFF, 0x22)) + b"\xf1\x89" * 40
    return start[: frame_bytes(rig)]


@ON_TWO_LINES_A_TRANSPORT
def test_an_ecu_that_stops_in_the_middle_is_named(rig: Rig) -> None:
    with rig.instead_of_the_ecu() as ecu:
        ecu.send(first_frame(rig, 200))
        ecu.receive()
        with pytest.raises(ConsecutiveFrameTimeout):
            rig.receive()


@ON_TWO_LINES_A_TRANSPORT
def test_an_ecu_without_flow_control_is_named(rig: Rig) -> None:
    with rig.instead_of_the_ecu(), pytest.raises(NoFlowControl):
        rig.connection.send(bytes(70))


# -- the ECU and a badly made tester


def test_the_ecu_asks_for_its_block_size_and_st_min(rig: Rig) -> None:
    with rig.instead_of_the_tester() as tester:
        tester.send(first_frame(rig, 200))
        assert bytes(tester.receive().data[:3]) == b"\x30\x10\x00"


LONG_RECORDS = bytes.fromhex("F1 A1 F1 90 F1 95 F1 91 F1 8C F1 89")


def test_block_size_st_min_and_wait_frames_of_the_tester_are_kept_by_the_ecu(rig: Rig) -> None:
    with rig.instead_of_the_tester() as tester:
        tester.send(b"\x00\x0d\x22" + LONG_RECORDS if rig.line.is_fd else b"\x03\x22" + LONG_RECORDS[:2])
        start = tester.receive()
        left = ((start.data[0] & 0x0F) << 8 | start.data[1]) - (len(start.data) - 2)
        tester.send("31 01 0A", "31 01 0A")  # the kernel takes block size and STmin from the first flow control of all
        while left > 0:
            tester.send("30 01 0A")
            left -= len(tester.receive().data) - 1
            with pytest.raises(AssertionError, match="no frame"):
                tester.receive(0.02)  # it waits for the next flow control


def test_a_tester_that_stops_in_the_middle_does_not_keep_the_ecu_from_the_next_request(rig: Rig) -> None:
    with rig.instead_of_the_tester() as tester:
        tester.send(first_frame(rig, 200))
        assert tester.receive().data[0] == 0x30
    assert rig.ask("22 F1 89") == "62 F1 89 31 2E 30 2E 30"


def test_a_tester_with_a_wrong_sequence_number_is_not_answered_and_the_next_request_is(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with rig.instead_of_the_tester() as tester, caplog.at_level(logging.WARNING):
        tester.send(first_frame(rig, 200))
        tester.receive()
        tester.send(b"\x25" + bytes(frame_bytes(rig) - 1))
        tester.send("02 3E 00")
        assert bytes(tester.receive().data[:3]) == b"\x02\x7e\x00"
    assert any("ISO-TP" in record.getMessage() for record in caplog.records)


def test_frames_that_are_no_iso_tp_and_frames_for_others_are_passed_over(rig: Rig) -> None:
    with rig.instead_of_the_tester() as tester:
        for frame in ("F0 01 02", "00", "2F 00", "30 00 00", "32 00 00"):
            tester.send(frame)
        if rig.line.prefix_bytes:
            tester.prefix = b"\x77"
            tester.send("02 11 01")
    assert rig.hears_nothing()


# -- unforeseen exceptions


def test_an_unforeseen_exception_is_logged_answered_with_10_and_survived(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_request: object) -> bytes:
        raise KeyError("a mistake of the simulator")

    monkeypatch.setitem(data_services.READERS, int(Did.VIN), broken)
    assert rig.ask("22 F1 90") == "7F 22 10"
    (line,) = [record.getMessage() for record in caplog.records if "unforeseen" in record.getMessage()]
    assert "engine: request 22 f1 90: unforeseen KeyError: 'a mistake of the simulator'" in line and "data.py:" in line
    assert rig.ask("22 F1 89").startswith("62")


# -- padding and TX_DL, at both ends


@pytest.mark.parametrize("transport", [pytest.param("kernel", marks=pytest.mark.vcan), "user"])
@pytest.mark.parametrize(
    ("is_fd", "more", "lengths"),
    [
        (False, (("padding", 0x55),), {8}),
        (False, (("padding", None),), {3, 4, 5, 6, 7, 8}),
        (True, (("tx_dl", 16),), {8, 12, 16}),
        (True, (("padding", None),), {3, 8, 64}),
    ],
    ids=["padded", "not-padded", "fd-tx-dl-16", "fd-not-padded"],
)
def test_frames_have_the_lengths_that_padding_and_tx_dl_say(
    tmp_path: Path,
    keys: Keys,
    old_image: bytes,
    transport: str,
    is_fd: bool,
    more: tuple[tuple[str, int | None], ...],
    lengths: set[int],
) -> None:
    # Identifiers of its own: the ECU that other tests share is still on the bus.
    rig = Rig(Line(transport, "normal", is_fd, more, number=1), tmp_path, keys, old_image)
    try:
        with can.Bus(**rig.line.bus) as listener:
            assert rig.ask("3E 00") == "7E 00"
            assert rig.ask("22" + " F1 A1 F1 89 F1 90").startswith("62 F1 A1")
            frames = list(iter(lambda: listener.recv(0.1), None))
    finally:
        rig.close()
    assert {len(frame.data) for frame in frames} <= lengths and max(len(frame.data) for frame in frames) == max(lengths)
    if ("padding", 0x55) in more:
        (present,) = [frame for frame in frames if bytes(frame.data[:2]) == b"\x02\x7e"]
        assert bytes(present.data[3:]) == b"\x55" * 5


def test_the_lines_differ_in_nothing_but_the_carrying() -> None:
    assert len({str(line) for line in LINES}) == 12
    assert all(isinstance(line.isotp, IsoTpConfig) for line in LINES)
