"""Both transports behave the same, against a peer that writes its frames by hand.

``user``: can-isotp on a bus of this process; ``kernel``: CAN_ISOTP sockets on vcan0.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import can
import pytest
from udsoncan.exceptions import TimeoutException

from otabench.bench.uds.transport import Channel, IsoTpConnection, open_channel
from otabench.bench.uds.transport.channel import single_frame
from otabench.bench.uds.transport.errors import (
    ChannelUnavailable,
    ConsecutiveFrameTimeout,
    InterfaceDown,
    NoFlowControl,
    ReceiverOverflow,
    TooManyWaitFrames,
    TransportError,
    WrongSequenceNumber,
)
from otabench.bench.uds.transport.kernel_socket import polls_transmission
from otabench.proto.process_config import IsoTpConfig
from tests.acting import acting
from tests.stalls import within

REQUEST_ID, RESPONSE_ID = 0x6E0, 0x6E8
_buses = itertools.count()


@dataclass
class Medium:
    """A bus with the tester's end, by the transport under test, and the peer's raw end."""

    bus: dict[str, Any]
    transport: str
    opened: list[Any] = field(default_factory=list)

    def connect(self, request_id: int = REQUEST_ID, response_id: int = RESPONSE_ID, **isotp: Any) -> IsoTpConnection:
        config = IsoTpConfig(transport=self.transport, **isotp)  # type: ignore[arg-type]
        connection = self.channel(config).connection(request_id=request_id, response_id=response_id, isotp=config)
        connection.open()
        self.opened.append(connection)
        return connection

    def channel(self, config: IsoTpConfig) -> Channel:
        channel = open_channel(self.bus, config)
        self.opened.append(channel)
        return channel

    @contextmanager
    def peer(self, *listens_to: int) -> Iterator[Peer]:
        with can.Bus(**self.bus) as bus:
            bus.set_filters([{"can_id": can_id, "can_mask": 0x1FFFFFFF} for can_id in listens_to or (REQUEST_ID,)])
            yield Peer(bus)


@dataclass
class Peer:
    """The ECU's end, frame by frame."""

    bus: can.BusABC
    response_id: int = RESPONSE_ID

    def send(self, *frames: str) -> None:
        for frame in frames:
            data = bytes.fromhex(frame)
            self.bus.send(
                can.Message(arbitration_id=self.response_id, data=data, is_extended_id=self.response_id > 0x7FF)
            )

    def receive(self) -> can.Message:
        message = self.bus.recv(3.0)
        assert message is not None
        return message

    def expect(self, frame: str) -> None:
        assert self.receive().data.hex() == frame.replace(" ", "")

    def answers(self) -> None:
        """Answer one request; later exchanges must work whatever happened before."""
        while (message := self.bus.recv(3.0)) is not None and message.data[:3] != b"\x02\x3e\x00":
            continue
        self.send("02 7E 00")


@pytest.fixture(
    params=["user", pytest.param("kernel", marks=pytest.mark.vcan)],
)
def medium(request: pytest.FixtureRequest) -> Iterator[Medium]:
    if request.param == "user":
        made = Medium({"interface": "virtual", "channel": f"transport-{next(_buses)}"}, "user")
    else:
        made = Medium({"interface": "socketcan", "channel": "vcan0"}, request.param)
    yield made
    for one in reversed(made.opened):
        one.close()


def works(connection: IsoTpConnection, peer: Peer) -> None:
    with acting(peer.answers):
        connection.empty_rxqueue()
        connection.send(b"\x3e\x00")
        assert connection.wait_frame(timeout=20.0, exception=True) == b"\x7e\x00"


@pytest.mark.parametrize(
    ("padding", "frame"), [(0xCC, "023e00cccccccccc"), (0x00, "023e000000000000"), (None, "023e00")]
)
def test_a_single_frame_is_padded_as_configured(medium: Medium, padding: int | None, frame: str) -> None:
    connection = medium.connect(padding=padding)
    with medium.peer() as peer:
        connection.send(b"\x3e\x00")
        peer.expect(frame)
        peer.send("02 7E 00")
        assert connection.wait_frame(timeout=20.0, exception=True) == b"\x7e\x00"


def test_block_size_and_st_min_of_the_ecu_are_respected(medium: Medium) -> None:
    connection = medium.connect()
    payload = bytes(range(62))  # one first frame, eight consecutive frames
    with medium.peer() as peer:

        def receive() -> None:
            peer.expect("103e 000102030405")
            for start in (0, 3, 6):
                peer.send("30 03 14 CC CC CC CC CC")  # three frames, 20 ms apart
                received = [peer.receive() for _ in range(min(3, 8 - start))]
                assert [message.data[0] for message in received] == [0x21 + start + n for n in range(len(received))]
                gaps = [later.timestamp - sooner.timestamp for sooner, later in itertools.pairwise(received)]
                assert all(gap > 0.015 for gap in gaps)

        with acting(receive):
            connection.send(payload)


def test_flow_control_for_a_long_response_has_our_block_size_and_st_min(medium: Medium) -> None:
    connection = medium.connect(block_size=9, st_min_ms=1)
    with medium.peer() as peer:
        peer.send("10 0A 62 F1 90 41 42 43")
        peer.expect("30 09 01 cc cc cc cc cc")
        peer.send("21 44 45 46 47 CC CC CC")
        assert connection.wait_frame(timeout=20.0, exception=True) == b"\x62\xf1\x90ABCDEFG"


def test_a_message_of_4095_bytes_arrives_whole(medium: Medium) -> None:
    connection = medium.connect(block_size=64)
    other = Medium(medium.bus, medium.transport)
    echo = other.connect(RESPONSE_ID, REQUEST_ID, block_size=64)
    payload = bytes(n * 7 & 0xFF for n in range(4095))
    try:
        connection.send(payload)
        received = echo.wait_frame(timeout=20.0, exception=True)
        assert received == payload
        echo.send(received[::-1])
        assert connection.wait_frame(timeout=20.0, exception=True) == payload[::-1]
    finally:
        for one in reversed(other.opened):
            one.close()


def test_no_flow_control_is_named(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        started = time.monotonic()
        with within(2.5), pytest.raises(NoFlowControl, match="0x6E0"):
            connection.send(bytes(20))
        assert time.monotonic() - started > 0.8
        works(connection, peer)


def test_flow_status_overflow_is_named(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:

        def refuse() -> None:
            peer.receive()
            peer.send("32 00 00")

        with acting(refuse), pytest.raises(ReceiverOverflow):
            connection.send(bytes(20))
        works(connection, peer)


def test_an_answer_that_stops_in_the_middle_is_named(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        peer.send("10 14 62 F1 90 41 42 43", "21 44 45 46 47 48 49 4A")
        with pytest.raises(ConsecutiveFrameTimeout):
            connection.wait_frame(timeout=3.0, exception=True)
        works(connection, peer)


def test_a_wrong_sequence_number_is_named(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        peer.send("10 14 62 F1 90 41 42 43")
        peer.receive()
        peer.send("23 44 45 46 47 48 49 4A")
        with pytest.raises(WrongSequenceNumber):
            connection.wait_frame(timeout=3.0, exception=True)
        works(connection, peer)


def test_wait_frames_are_accepted_and_too_many_are_named(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:

        def wait_then_take() -> None:
            peer.receive()
            peer.send("31 00 00", "31 00 00", "30 00 00")
            assert [peer.receive().data[0] for _ in range(2)] == [0x21, 0x22]

        with acting(wait_then_take):
            connection.send(bytes(20))
        stop = threading.Event()

        def wait_for_ever() -> None:
            peer.receive()
            while not stop.wait(0.1):
                peer.send("31 00 00")

        with acting(wait_for_ever):
            try:
                with pytest.raises(TooManyWaitFrames):
                    connection.send(bytes(20))
            finally:
                stop.set()


def test_silence_is_udsoncans_timeout(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        with within(0.6), pytest.raises(TimeoutException):
            connection.wait_frame(timeout=0.1, exception=True)
        works(connection, peer)


def test_messages_before_a_request_are_dropped(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        peer.send("03 7F 36 78")
        time.sleep(0.1)
        works(connection, peer)


def test_a_connection_can_be_closed_and_opened_again(medium: Medium) -> None:
    connection = medium.connect()
    with medium.peer() as peer:
        connection.close()
        assert not connection.is_open()
        connection.open()
        works(connection, peer)


def test_identifiers_of_29_bits(medium: Medium) -> None:
    request_id, response_id = 0x18DA10F1, 0x18DAF110
    connection = medium.connect(request_id, response_id)
    with medium.peer(request_id) as peer:
        peer.response_id = response_id
        connection.send(b"\x3e\x00")
        message = peer.receive()
        assert message.is_extended_id and message.arbitration_id == request_id
        peer.send("02 7E 00")
        assert connection.wait_frame(timeout=20.0, exception=True) == b"\x7e\x00"


def test_a_functional_request_is_one_single_frame(medium: Medium) -> None:
    config = IsoTpConfig(transport=medium.transport)  # type: ignore[arg-type]
    channel = medium.channel(config)
    with medium.peer(0x7DF) as peer:
        channel.send_functional(0x7DF, b"\x28\x83\x01", isotp=config)
        peer.expect("03288301cccccccc")


def test_a_functional_request_that_needs_more_frames_is_a_wrong_call() -> None:
    assert single_frame(bytes(7), None) == b"\x07" + bytes(7)
    for payload in (b"", bytes(8)):
        with pytest.raises(ValueError, match="1 to 7 bytes"):
            single_frame(payload, 0xCC)


@pytest.mark.vcan
@pytest.mark.parametrize("transport", ["kernel", "user"])
def test_an_absent_interface_is_reported_with_the_remedy(transport: str) -> None:
    with pytest.raises(ChannelUnavailable, match=r"nocan9: cannot be opened.*setup/with-can"):
        open_channel({"interface": "socketcan", "channel": "nocan9"}, IsoTpConfig(transport=transport))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("release", "polls"),
    [
        ("6.1.192", True),
        ("6.1.0-18-amd64", False),
        ("5.15.0-91-generic", False),
        ("6.2.1", False),
        ("6.8.0-31", True),
        ("7.2", True),
    ],
)
def test_which_kernels_report_the_end_of_a_transmission_by_poll(release: str, polls: bool) -> None:
    assert polls_transmission(release) is polls


def test_the_kernels_transport_needs_socketcan() -> None:
    with pytest.raises(ChannelUnavailable, match="needs interface socketcan, not virtual"):
        open_channel({"interface": "virtual", "channel": "x"}, IsoTpConfig(transport="kernel"))


@pytest.mark.vcan
@pytest.mark.parametrize("transport", ["kernel", "user"])
def test_an_interface_that_goes_down_is_named_and_works_again_when_up(transport: str) -> None:
    name = f"vcandwn{next(_buses)}"
    if subprocess.run(["ip", "link", "add", name, "mtu", "72", "type", "vcan"], capture_output=True).returncode:
        pytest.skip("not allowed to make another vcan")
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    medium = Medium({"interface": "socketcan", "channel": name}, transport)
    try:
        connection = medium.connect()
        with medium.peer() as peer:
            works(connection, peer)
            subprocess.run(["ip", "link", "set", name, "down"], check=True)
            with pytest.raises(TransportError) as caught:
                for _ in range(3):
                    connection.send(b"\x3e\x00")
                    connection.wait_frame(timeout=0.5, exception=True)
            assert isinstance(caught.value, InterfaceDown), repr(caught.value)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        with medium.peer() as peer:
            connection.close()
            connection.open()
            works(connection, peer)
    finally:
        for one in reversed(medium.opened):
            one.close()
        subprocess.run(["ip", "link", "del", name], check=True)
