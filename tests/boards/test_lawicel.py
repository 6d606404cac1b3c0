"""The adapter that the boards hang on answers as the LAWICEL protocol says, so that what works with it works with a real one."""

from __future__ import annotations

import socket

import pytest

from tests.boards.lawicel import Adapter, ClassicFrame
from tests.boards.wiring import Wiring


def opened(bit_rate: bytes = b"S6\r", how: bytes = b"O\r") -> Adapter:
    adapter = Adapter()
    assert adapter.receive(bit_rate + how) == b"\r\r"
    return adapter


@pytest.mark.parametrize(
    ("command", "frame", "answer"),
    [
        (b"t7E020201\r", ClassicFrame(0x7E0, 2, b"\x02\x01"), b"z\r"),
        (b"T18DA10F10\r", ClassicFrame(0x18DA10F1 | socket.CAN_EFF_FLAG, 0, b""), b"Z\r"),
        (b"r7DF8\r", ClassicFrame(0x7DF | socket.CAN_RTR_FLAG, 8, b""), b"z\r"),
        (b"R000000015\r", ClassicFrame(1 | socket.CAN_EFF_FLAG | socket.CAN_RTR_FLAG, 5, b""), b"Z\r"),
    ],
)
def test_frames_of_every_kind_reach_the_bus_and_come_back_as_they_were(
    command: bytes, frame: ClassicFrame, answer: bytes
) -> None:
    adapter = opened()
    assert adapter.receive(command) == answer
    assert adapter.to_bus == [frame]
    assert ClassicFrame.unpack(frame.pack()).pack() == frame.pack()
    assert adapter.notification(frame, time_ms=0) == command


@pytest.mark.parametrize(
    "command",
    [
        b"O\r",
        b"S6\r",
        b"Z1\r",
        b"t7E0902\r",
        b"t8E0102\r",
        b"t7E02010\r",
        b"t7E0201\r",
        b"T20000000102\r",
        b"x\r",
        b"S9\r",
    ],
)
def test_what_does_not_fit_is_refused_with_bell(command: bytes) -> None:
    adapter = opened()
    assert adapter.receive(command) == b"\a"
    assert adapter.to_bus == []


def test_closed_it_neither_sends_nor_tells() -> None:
    adapter = Adapter()
    assert adapter.receive(b"O\r") == b"\a"  # no bit rate yet
    assert adapter.receive(b"t7E020201\rF\rC\r") == b"\a\a\a"
    assert adapter.notification(ClassicFrame(1, 0, b""), time_ms=0) == b""
    assert adapter.to_bus == []


def test_listening_only_it_tells_and_sends_nothing() -> None:
    adapter = opened(how=b"L\r")
    assert adapter.receive(b"t7E020201\r") == b"\a"
    assert adapter.notification(ClassicFrame(0x7E8, 1, b"\x50"), time_ms=0) == b"t7E8150\r"


def test_version_serial_number_status_and_time_stamps() -> None:
    adapter = Adapter()
    assert adapter.receive(b"V\rN\rZ1\rS6\rO\rF\r") == b"V1013\rNOTB1\r\r\r\rF00\r"
    assert adapter.notification(ClassicFrame(0x7E8, 0, b""), time_ms=60_016) == b"t7E800010\r"
    assert adapter.receive(b"C\rZ0\r") == b"\r\r"


def test_a_command_in_pieces_is_one_command_and_noise_without_an_end_is_refused() -> None:
    adapter = opened()
    assert adapter.receive(b"t7E0") == b""
    assert adapter.receive(b"20201\r") == b"z\r"
    assert adapter.receive(b"t" * 64) == b"\a"
    assert adapter.receive(b"F\r") == b"F00\r"


@pytest.mark.parametrize(
    ("wiring", "state", "errors"),
    [
        (Wiring.HEALTHY, b"sa000000\r", b""),
        (Wiring.ALONE, b"sp000128\r", b"e1a\r"),
        (Wiring.WRONG_BIT_RATE, b"sp135000\r", b"e2fs\r"),
        (Wiring.NO_TERMINATION, b"sw040104\r", b"e1b\r"),
        (Wiring.SHORT, b"sb000256\r", b""),
    ],
)
def test_states_and_errors_are_reported_as_linux_reads_them(wiring: Wiring, state: bytes, errors: bytes) -> None:
    adapter = opened()
    assert (adapter.rewire(wiring), adapter.errors()) == (state, errors)


def test_off_the_bus_it_stays_so_until_it_is_opened_again_and_a_short_takes_it_off_again() -> None:
    adapter = opened()
    adapter.rewire(Wiring.SHORT)
    assert adapter.receive(b"t7E020201\r") == b"z\r" and adapter.to_bus == []
    assert adapter.receive(b"C\rS6\rO\rt7E020201\r") == b"\r\r\rz\rsb000256\r"
    assert adapter.rewire(Wiring.HEALTHY) == b""
    assert adapter.notification(ClassicFrame(0x7E8, 1, b"\x50"), time_ms=0) == b""
    assert adapter.receive(b"C\rO\rt7E020201\r") == b"\r\rz\r"
    assert len(adapter.to_bus) == 1


def test_firmware_that_rejoins_by_itself_says_so() -> None:
    adapter = opened()
    adapter.rewire(Wiring.SHORT)
    assert adapter.rejoin() == b"sa000000\r"
    assert adapter.notification(ClassicFrame(0x7E8, 1, b"\x50"), time_ms=0) == b"t7E8150\r"
