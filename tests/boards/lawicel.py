"""A USB-serial CAN adapter made of a pseudo-terminal: the LAWICEL ASCII protocol on one side, a vcan on the other.

``python -m tests.boards.lawicel --channel vcan1 --link FILE`` makes FILE a symbolic link to the terminal and bridges until
SIGTERM: as the adapter is pulled, the terminal hangs up and FILE is gone. ``slcand`` and python-can's ``slcan`` attach to it.

Decides what an adapter of the CAN232 kind answers: CR for done, BELL for refused, ``z``/``Z`` CR for a frame that was taken.
Commands: ``S0``-``S8`` bit rate (closed only), ``O`` open, ``L`` open and only listen, ``C`` close, ``t`` ``T`` data frames,
``r`` ``R`` remote frames (11 and 29 bits; open only), ``F`` status flags (open only), ``V`` version, ``N`` serial number,
``Z0`` ``Z1`` time stamps (closed only). Like those adapters it knows no CAN FD. It reports its controller's states and errors as
newer firmware does (``s`` and ``e``, see ``wiring``); off the bus it stays so until it is closed and opened again. ``Adapter`` is
the protocol alone: bytes in, bytes and frames out; ``bridge`` moves them.

``--control PORT``: a UDP port on 127.0.0.1 that takes the name of a ``Wiring``, or ``rejoin``: back on a mended bus without being
opened again, as some firmware does; it answers ``ok``. ``control`` does that.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import signal
import socket
import struct
import sys
import time
import tty
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from tests.boards.wiring import EFFECTS, Wiring

DONE: Final = b"\r"
REFUSED: Final = b"\a"
BIT_RATES: Final = (10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000)
"""Of the commands S0 to S8."""
VERSION: Final = b"V1013\r"
SERIAL: Final = b"NOTB1\r"
LONGEST_COMMAND_BYTES: Final = len(b"T1FFFFFFF81122334455667788\r")
REJOIN: Final = b"rejoin"
ERROR_PERIOD_S: Final = 0.02
"""Between two error reports, while something is wrong."""
_TIME_STAMP_WRAPS_MS: Final = 60_000
_ANSWER_S: Final = 5.0


_FRAME: Final = struct.Struct("=IB3x8s")
_DATA_FRAME: Final = {
    ord("t"): re.compile(rb"t([0-7][0-9A-Fa-f]{2})([0-8])((?:[0-9A-Fa-f]{2})*)"),
    ord("T"): re.compile(rb"T([01][0-9A-Fa-f]{7})([0-8])((?:[0-9A-Fa-f]{2})*)"),
    ord("r"): re.compile(rb"r([0-7][0-9A-Fa-f]{2})([0-8])()"),
    ord("R"): re.compile(rb"R([01][0-9A-Fa-f]{7})([0-8])()"),
}


@dataclass(frozen=True)
class ClassicFrame:
    """One frame: ``can_id`` with the kernel's flags for 29 bits and remote frames; ``length`` is the DLC."""

    can_id: int
    length: int
    data: bytes

    @classmethod
    def unpack(cls, raw: bytes) -> ClassicFrame:
        """From the kernel's ``struct can_frame``."""
        can_id, length, data = _FRAME.unpack(raw)
        return cls(can_id, length, data[:length])

    def pack(self) -> bytes:
        """As the kernel's ``struct can_frame``."""
        return _FRAME.pack(self.can_id, self.length, self.data)


@dataclass
class Adapter:
    """The adapter's side of the protocol. ``bit_rate`` None: not set, and then it does not open."""

    bit_rate: int | None = None
    is_open: bool = False
    listens_only: bool = False
    stamps_time: bool = False
    wiring: Wiring = Wiring.HEALTHY
    is_off: bool = False
    """Bus-off: until it is opened again."""
    to_bus: list[ClassicFrame] = field(default_factory=list)
    """Frames to be sent; the caller takes them away."""
    _unfinished: bytes = b""

    def receive(self, data: bytes) -> bytes:
        """Send bytes as the host does and return the answers."""
        *commands, self._unfinished = (self._unfinished + data).split(b"\r")
        answers = b"".join([self._answer(command) for command in commands])
        if len(self._unfinished) > LONGEST_COMMAND_BYTES:
            self._unfinished = b""
            answers += REFUSED
        return answers

    def notification(self, frame: ClassicFrame, *, time_ms: int) -> bytes:
        """Return what the host is told of a frame on the bus; nothing while closed, off, or where it makes no sense of it."""
        if not self.is_open or not self._frames_pass:
            return b""
        is_remote = bool(frame.can_id & socket.CAN_RTR_FLAG)
        if frame.can_id & socket.CAN_EFF_FLAG:
            head = f"{'R' if is_remote else 'T'}{frame.can_id & socket.CAN_EFF_MASK:08X}{frame.length}"
        else:
            head = f"{'r' if is_remote else 't'}{frame.can_id & socket.CAN_SFF_MASK:03X}{frame.length}"
        data = "" if is_remote else frame.data.hex().upper()
        stamp = f"{time_ms % _TIME_STAMP_WRAPS_MS:04X}" if self.stamps_time else ""
        return f"{head}{data}{stamp}\r".encode("ascii")

    def rewire(self, wiring: Wiring) -> bytes:
        """Change the wires; return what the host is told. It goes on sending, so that a short takes it off the bus at once."""
        self.wiring = wiring
        return self._state() if self.is_open and not self.is_off else b""

    def rejoin(self) -> bytes:
        """Back on a mended bus by itself; returns what the host is told."""
        self.is_off = False
        return self.rewire(Wiring.HEALTHY)

    def errors(self) -> bytes:
        """Return what the host is told every ``ERROR_PERIOD_S``."""
        return EFFECTS[self.wiring].error_report() if self.is_open and not self.is_off else b""

    @property
    def _frames_pass(self) -> bool:
        return not self.is_off and EFFECTS[self.wiring].frames_pass

    def _state(self) -> bytes:
        self.is_off = self.wiring is Wiring.SHORT
        return EFFECTS[self.wiring].state_report()

    def _answer(self, command: bytes) -> bytes:
        if not command:
            return DONE  # a host sends empty ones to clear the line
        if command[0] in _DATA_FRAME:
            return self._transmit(command)
        if command == b"V":
            return VERSION
        if command == b"N":
            return SERIAL
        if command == b"F":
            return b"F00\r" if self.is_open else REFUSED
        return self._change(command)

    def _change(self, command: bytes) -> bytes:
        """Commands that change the adapter's state."""
        if command == b"C":
            if not self.is_open:
                return REFUSED
            self.is_open = False
            return DONE
        if self.is_open:
            return REFUSED
        if command in (b"O", b"L") and self.bit_rate is not None:
            self.is_open, self.listens_only, self.is_off = True, command == b"L", False
        elif re.fullmatch(rb"S[0-8]", command):
            self.bit_rate = BIT_RATES[int(command[1:])]
        elif command in (b"Z0", b"Z1"):
            self.stamps_time = command == b"Z1"
        else:
            return REFUSED
        return DONE

    def _transmit(self, command: bytes) -> bytes:
        match = _DATA_FRAME[command[0]].fullmatch(command)
        if match is None or not self.is_open or self.listens_only:
            return REFUSED
        can_id, length, data = int(match[1], 16), int(match[2]), bytes.fromhex(match[3].decode())
        is_remote, is_extended = command[0] in b"rR", command[0] in b"TR"
        if not is_remote and len(data) != length:
            return REFUSED
        flags = (socket.CAN_EFF_FLAG if is_extended else 0) | (socket.CAN_RTR_FLAG if is_remote else 0)
        taken = b"Z\r" if is_extended else b"z\r"
        if self._frames_pass:
            self.to_bus.append(ClassicFrame(can_id | flags, length, data))
        elif not self.is_off:
            taken += self._state()
        return taken


class _Stop:
    requested = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def control(port: int, word: str) -> None:
    """Tell the adapter whose ``--control`` is that port; return when it is done.

    Raises:
        OSError: nobody answers there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_ANSWER_S)
        client.connect(("127.0.0.1", port))
        client.send(word.encode("ascii"))
        answer = client.recv(64)
    assert answer == b"ok", answer


def bridge(terminal: int, can: socket.socket, orders: socket.socket, stop: _Stop) -> None:
    """Move frames between terminal and bus until ``stop``; neither is read faster than the other takes it."""
    adapter = Adapter()
    to_host: deque[bytes] = deque()
    errors_at_s = 0.0
    while not stop.requested:
        reads: list[int | socket.socket] = [terminal, orders] if to_host else [terminal, orders, can]
        patience_s = ERROR_PERIOD_S if adapter.errors() else 0.5
        readable, writable, _ = select.select(reads, [terminal] if to_host else [], [], patience_s)
        if orders in readable:
            word, client = orders.recvfrom(64)
            to_host.append(adapter.rejoin() if word == REJOIN else adapter.rewire(Wiring(word.decode("ascii"))))
            orders.sendto(b"ok", client)
        if time.monotonic() >= errors_at_s and (errors := adapter.errors()):
            to_host.append(errors)
            errors_at_s = time.monotonic() + ERROR_PERIOD_S
        if terminal in readable:
            to_host.append(adapter.receive(os.read(terminal, 4096)))
            for frame in adapter.to_bus:
                _send(can, frame)
            adapter.to_bus.clear()
        if can in readable:
            frame = ClassicFrame.unpack(can.recv(_FRAME.size))
            to_host.append(adapter.notification(frame, time_ms=int(time.monotonic() * 1000)))
        if terminal in writable or to_host:
            _write(terminal, to_host)


def _send(can: socket.socket, frame: ClassicFrame) -> None:
    while True:
        try:
            can.send(frame.pack())
            return
        except OSError as error:
            if error.errno != 105:  # ENOBUFS: the bus is busy
                raise
            time.sleep(0.001)


def _write(terminal: int, to_host: deque[bytes]) -> None:
    data = b"".join(to_host)
    to_host.clear()
    if not data:
        return
    try:
        written = os.write(terminal, data)
    except BlockingIOError:
        written = 0
    if written < len(data):
        to_host.append(data[written:])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.boards.lawicel", description="A LAWICEL adapter on a pty.")
    parser.add_argument("--channel", required=True, help="the SocketCAN interface behind it, such as vcan1")
    parser.add_argument("--link", required=True, type=Path, help="made a symbolic link to the terminal")
    parser.add_argument("--control", type=int, default=0, help="UDP port that takes the state of the wires")
    chosen = parser.parse_args()
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with (
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as can,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as orders,
    ):
        orders.bind(("127.0.0.1", chosen.control))
        try:
            can.bind((chosen.channel,))
        except OSError as error:
            print(f"lawicel: {chosen.channel}: {error.strerror}; is the interface up?", file=sys.stderr)
            return 1
        terminal, other_end = os.openpty()
        tty.setraw(other_end)
        os.set_blocking(terminal, False)
        chosen.link.unlink(missing_ok=True)
        chosen.link.symlink_to(os.ttyname(other_end))
        try:
            bridge(terminal, can, orders, stop)
        finally:
            chosen.link.unlink(missing_ok=True)
            os.close(terminal)
            os.close(other_end)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
