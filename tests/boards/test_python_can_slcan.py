"""A python-can bus that fails is opened again: its own slcan interface, on an adapter whose terminal hangs up and comes back."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import can
import pytest

from otabench.bench.uds.transport import Channel, IsoTpConnection, TransportError, open_channel
from otabench.bench.uds.transport.errors import ChannelUnavailable, InterfaceGone
from otabench.proto.process_config import IsoTpConfig
from tests.boards import adapter
from tests.boards.adapter import BEHIND, Adapter, vcans
from tests.needs import needs
from tests.waiting import eventually

pytestmark = [pytest.mark.vcan, needs(not adapter.missing(), adapter.missing())]
REQUEST_ID, RESPONSE_ID = 0x6E0, 0x6E8
ISOTP = IsoTpConfig(transport="user")
PATIENCE_S = 20.0


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Adapter]:
    with vcans(BEHIND):
        made = Adapter(tmp_path, by_slcand=False)
        made.plug()
        try:
            yield made
        finally:
            made.pull()


def entry(plugged: Adapter) -> dict[str, object]:
    return {"interface": "slcan", "channel": str(plugged.terminal), "bitrate": 500_000, "sleep_after_open": 0}


@contextmanager
def opened(plugged: Adapter) -> Iterator[tuple[Channel, IsoTpConnection]]:
    channel = open_channel(entry(plugged), ISOTP)
    connection = channel.connection(request_id=REQUEST_ID, response_id=RESPONSE_ID, isotp=ISOTP)
    connection.open()
    try:
        yield channel, connection
    finally:
        connection.close()
        channel.close()


@contextmanager
def ecu() -> Iterator[None]:
    """Answer 3E 00 on the bus behind the adapter."""
    with can.Bus(interface="socketcan", channel=BEHIND) as bus:

        def answer(message: can.Message) -> None:
            if message.arbitration_id == REQUEST_ID and message.data[:3] == b"\x02\x3e\x00":
                bus.send(can.Message(arbitration_id=RESPONSE_ID, data=b"\x02\x7e\x00", is_extended_id=False))

        notifier = can.Notifier(bus, [answer], timeout=0.1)
        try:
            yield
        finally:
            notifier.stop()


def ask(connection: IsoTpConnection) -> bytes:
    connection.empty_rxqueue()
    connection.send(b"\x3e\x00")
    return bytes(connection.wait_frame(timeout=PATIENCE_S, exception=True) or b"")


def wait_for(happened: Callable[[], bool], what: str) -> None:
    eventually(happened, what, timeout_s=PATIENCE_S, interval_s=0.05)


def reopened(connection: IsoTpConnection) -> bool:
    try:
        connection.open()
    except ChannelUnavailable:
        return False
    return True


def test_a_pulled_adapter_is_a_named_fault_and_is_opened_again(plugged: Adapter) -> None:
    with ecu(), opened(plugged) as (channel, connection):
        assert ask(connection) == b"\x7e\x00"
        # when the adapter is pulled while an answer is waited for
        waiting_since_s = time.monotonic()
        threading.Timer(0.3, plugged.pull).start()
        # then the caller is told at once, by name
        with pytest.raises(InterfaceGone, match=r"adapter\.tty: the bus failed: .*plug the adapter in"):
            connection.wait_frame(timeout=PATIENCE_S, exception=True)
        assert time.monotonic() - waiting_since_s < PATIENCE_S / 2
        # and who sends nevertheless, or opens again, is told too
        with pytest.raises(InterfaceGone):
            connection.send(b"\x3e\x00")
        with pytest.raises(TransportError):
            channel.send_functional(0x7DF, b"\x3e\x80", isotp=ISOTP)
        with pytest.raises(ChannelUnavailable, match="plug the adapter in"):
            connection.open()
        # when it is plugged in, then the same channel works again
        plugged.plug()
        wait_for(lambda: reopened(connection), "never opened again")
        assert ask(connection) == b"\x7e\x00"
        channel.send_functional(0x7DF, b"\x3e\x80", isotp=ISOTP)


def test_tries_to_open_a_bus_again_have_growing_pauses(plugged: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(plugged) as (_channel, connection):
        plugged.pull()
        wait_for(lambda: not reopened(connection), "it never failed")
        tries: list[float] = []
        make = can.Bus

        def counted(**arguments: object) -> can.BusABC:
            tries.append(time.monotonic())
            return make(**arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(can, "Bus", counted)
        until_s = time.monotonic() + 4.0
        while time.monotonic() < until_s:
            reopened(connection)
            time.sleep(0.01)
        pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert 2 <= len(tries) <= 12, tries
        assert max(pauses) > 0.5, pauses


def test_what_was_made_before_the_bus_was_opened_again_is_told_so(plugged: Adapter) -> None:
    with ecu(), opened(plugged) as (channel, connection):
        other = channel.connection(request_id=REQUEST_ID + 1, response_id=RESPONSE_ID + 1, isotp=ISOTP)
        other.open()
        plugged.pull()
        plugged.plug()
        with pytest.raises(InterfaceGone):
            for _ in range(100):
                ask(connection)
        wait_for(lambda: reopened(connection), "never opened again")
        with pytest.raises(InterfaceGone, match="opened again meanwhile"):
            other.send(b"\x3e\x00")
        assert ask(connection) == b"\x7e\x00"
        other.close()


def test_a_capture_goes_on_after_the_adapter_was_pulled(plugged: Adapter, tmp_path: Path) -> None:
    told = {"can": entry(plugged), "bitrate": 500_000, "data_bitrate": 500_000}
    command = [
        sys.executable,
        "-m",
        "otabench.bench.captures.recorder",
        "--bus",
        json.dumps(told),
        "--out",
        str(tmp_path / "usb"),
    ]
    log = tmp_path / "usb.log"

    def captured(text: str) -> Callable[[], bool]:
        def seen() -> bool:
            bus.send(can.Message(arbitration_id=0x123, data=bytes.fromhex(text), is_extended_id=False))
            return log.exists() and f"123#{text}" in log.read_text(encoding="ascii")

        return seen

    with (
        can.Bus(interface="socketcan", channel=BEHIND) as bus,
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as capture,
    ):
        wait_for(captured("0A"), "nothing was captured")
        plugged.pull()
        plugged.plug()
        wait_for(captured("0B"), "nothing was captured after the adapter was plugged in again")
        capture.send_signal(signal.SIGTERM)
        said = capture.communicate()[1]
    assert capture.returncode == 0, said
    assert "went away" in said and "Traceback" not in said


def test_a_socket_that_fails_is_opened_again_too() -> None:
    """python-can's udp_multicast: its socket is shut under it, as by a network that goes away."""
    channel = open_channel({"interface": "udp_multicast", "channel": "239.74.163.91"}, ISOTP)
    connection = channel.connection(request_id=REQUEST_ID, response_id=RESPONSE_ID, isotp=ISOTP)
    connection.open()
    try:
        channel._bus.bus._multicast._socket.close()  # type: ignore[attr-defined]
        with pytest.raises(InterfaceGone):
            for _ in range(100):
                connection.send(b"\x3e\x00")
                time.sleep(0.05)
        wait_for(lambda: reopened(connection), "never opened again")
        connection.send(b"\x3e\x00")
    finally:
        connection.close()
        channel.close()
