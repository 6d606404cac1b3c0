"""Application frames of a real ECU process: there while the application may talk, gone while it may not."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import pytest

from otabench.ecu_firmware_sim.bus.application import Application, setup_message
from otabench.proto.periodic import PeriodicFrame, PeriodicSignal
from otabench.proto.process_config import EcuConfig
from tests.ecu_firmware_sim.factory import ImageMaker, Keys, code
from tests.ecu_firmware_sim.process import EcuProcess, KernelWire, Tester, make_config

FRAME_ID = 0x121
PERIOD_S = 0.02
FRAME = PeriodicFrame(
    name="Alive",
    id=FRAME_ID,
    period_ms=20,
    length=2,
    signals=(PeriodicSignal(name="Counter", start_bit=8, length=4, wave="counter"),),
)


class Ear:
    """Hears one identifier on vcan0."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self._socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, struct.pack("=II", FRAME_ID, 0x7FF))
        self._socket.bind(("vcan0",))

    def close(self) -> None:
        self._socket.close()

    def hear(self, seconds: float) -> list[bytes]:
        """Return the data of the frames from now on, for so long."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(16)
        except BlockingIOError:
            pass
        heard, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame = self._socket.recv(16)
            except TimeoutError:
                break
            heard.append(frame[8 : 8 + frame[4]])
        return heard

    def is_loud(self) -> bool:
        return len(self.hear(10 * PERIOD_S)) >= 5

    def is_silent(self) -> bool:
        self.hear(PERIOD_S)  # a frame may have been on its way when the response was sent
        return self.hear(6 * PERIOD_S) == []


@pytest.fixture
def ear() -> Iterator[Ear]:
    opened = Ear()
    yield opened
    opened.close()


@pytest.fixture
def talker(tmp_path: Path, keys: Keys, make_image: ImageMaker) -> Iterator[Callable[..., tuple[EcuProcess, Tester]]]:
    opened: list[Callable[[], None]] = []

    def start(**more: object) -> tuple[EcuProcess, Tester]:
        image = make_image("1.0.0", counter=1, body=code("1.0.0", 6000))
        bus = {"interface": "socketcan", "channel": "vcan0"}
        config = make_config(tmp_path, keys, image, bus=bus, transport="kernel", periodic=(FRAME,), **more)
        process = EcuProcess(config, tmp_path)
        process.start()
        opened.append(process.kill)
        wire = KernelWire("vcan0")
        opened.append(wire.close)
        return process, Tester(wire)

    yield start
    for close in reversed(opened):
        close()


@pytest.fixture
def config_on(tmp_path: Path, keys: Keys, make_image: ImageMaker) -> Callable[..., EcuConfig]:
    """An ECU's configuration with the frame, on a bus."""
    image = make_image("1.0.0", counter=1, body=code("1.0.0", 6000))

    def make(bus: dict[str, object]) -> EcuConfig:
        return make_config(tmp_path, keys, image, bus=bus, transport="user", periodic=(FRAME,))

    return make


@pytest.mark.vcan
def test_frames_come_in_their_period_and_count(talker: Callable[..., tuple[EcuProcess, Tester]], ear: Ear) -> None:
    talker()
    heard = ear.hear(20 * PERIOD_S)
    assert 14 <= len(heard) <= 24
    counters = [data[1] & 0xF for data in heard]
    assert all(len(data) == 2 for data in heard)
    assert counters == [(counters[0] + step) % 16 for step in range(len(heard))]


@pytest.mark.vcan
def test_communication_control_silences_them_until_it_is_enabled_or_the_session_ends(
    talker: Callable[..., tuple[EcuProcess, Tester]], ear: Ear
) -> None:
    _, tester = talker()
    assert ear.is_loud()
    assert tester.ask("10 03")[0] == 0x50
    assert ear.is_loud(), "the extended session alone silences nothing"
    for off in ("28 03 01", "28 01 01"):
        assert tester.ask(off)[0] == 0x68
        assert ear.is_silent(), off
        assert tester.ask("28 00 01") == b"\x68\x00"
        assert ear.is_loud()
    assert tester.ask("28 02 01") == b"\x68\x02"
    assert ear.is_loud(), "02 disables receiving only"
    assert tester.ask("28 03 02") == b"\x68\x03"
    assert ear.is_loud(), "network management is not the application"
    assert tester.ask("28 03 01") == b"\x68\x03"
    assert ear.is_silent()
    assert tester.ask("10 01")[0] == 0x50
    assert ear.is_loud(), "the default session enables communication again"


@pytest.mark.vcan
def test_a_tester_that_leaves_gives_the_voice_back_by_s3(
    talker: Callable[..., tuple[EcuProcess, Tester]], ear: Ear
) -> None:
    from otabench.proto.process_config import EcuTiming

    _, tester = talker(timing=EcuTiming(boot_s=0.05, s3_server_s=0.5))
    assert tester.ask("10 03")[0] == 0x50
    assert tester.ask("28 03 01") == b"\x68\x03"
    assert ear.is_silent()
    time.sleep(0.5)  # S3
    assert ear.is_loud()


@pytest.mark.vcan
def test_programming_session_reset_and_lost_power_are_silent(
    talker: Callable[..., tuple[EcuProcess, Tester]], ear: Ear
) -> None:
    process, tester = talker()
    tester.unlock()
    assert ear.is_silent()
    assert tester.ask("11 01") == b"\x51\x01"
    process.await_mode("application")
    assert ear.is_loud()
    assert process.control(op="power", state="off")["ok"]
    assert ear.is_silent()
    assert process.control(op="power", state="on")["ok"]
    process.await_mode("application")
    assert ear.is_loud()
    process.kill()
    assert ear.is_silent(), "the kernel sends on for a process that is gone"


def test_on_another_interface_than_socketcan_a_thread_sends_and_silence_is_at_once(
    config_on: Callable[..., EcuConfig],
) -> None:
    channel = "application-frames"
    with can.Bus(interface="virtual", channel=channel) as ear:
        application = Application(config_on({"interface": "virtual", "channel": channel}))
        application.talk(True)
        heard = [ear.recv(5) for _ in range(12)]
        application.talk(False)
        while ear.recv(0) is not None:
            pass
        assert ear.recv(5 * PERIOD_S) is None
    counters = [message.data[1] & 0xF for message in heard if message is not None]
    assert counters == [number % 16 for number in range(12)]
    stamps = [message.timestamp for message in heard if message is not None]
    assert stamps[-1] - stamps[0] >= 10 * PERIOD_S, "not faster than its period"


def test_an_interface_that_is_not_there_costs_the_frames_and_nothing_else(
    config_on: Callable[..., EcuConfig], caplog: pytest.LogCaptureFixture
) -> None:
    application = Application(config_on({"interface": "socketcan", "channel": "vcan77"}))
    for _ in range(2):
        application.talk(True)
    assert not application.running
    assert [record.message.partition(" (")[0][:40] for record in caplog.records] == [
        "engine: no periodic frames: vcan77: [Err"
    ]


def test_the_broadcast_manager_is_told_identifier_period_and_all_frames() -> None:
    message = setup_message(FRAME.model_copy(update={"id": 0x18FF0001, "period_ms": 2500}), FRAME.cycle())
    opcode, flags, count, _, _, seconds, micros, can_id, frames = struct.unpack_from("@IIIllllII", message)
    assert (opcode, flags, count, seconds, micros) == (1, 3, 0, 2, 500_000)
    assert can_id == 0x98FF0001
    assert frames == 64
    assert len(message) == 56 + 64 * 16
