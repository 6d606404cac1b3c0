"""ISO-TP by the kernel: one CAN_ISOTP socket per ECU, one CAN_RAW socket per bus for functional requests.

The kernel segments, paces, pads and keeps block size and STmin; no frame passes through Python. The kernel reports an
error of a message on the next call, as an errno: here each becomes an error with a name. Layouts after the kernel's
``linux/can/isotp.h`` and ``linux/can.h``.

``send`` waits until the last frame is out: by looking at ``poll``, bounded by what the slowest STmin explains, because the kernel
itself honours any number of wait frames; on kernels whose CAN_ISOTP reports a busy socket as writable (before 6.3, and
6.1.22 of the long-term line) by CAN_ISOTP_WAIT_TX_DONE, which an ECU that never stops asking to wait can block.
"""

from __future__ import annotations

import errno
import platform
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from bench.gateway.transport import errors
from bench.gateway.transport.channel import Channel, IsoTpConnection, no_answer, single_frame
from proto.process_config import IsoTpConfig

_SOL_CAN_ISOTP: Final = 106
_CAN_ISOTP_OPTS: Final = 1
_CAN_ISOTP_RECV_FC: Final = 2
_CAN_ISOTP_LL_OPTS: Final = 5
_FLAG_TX_PADDING: Final = 0x004
_FLAG_WAIT_TX_DONE: Final = 0x400
_CAN_MTU: Final = 16
_CANFD_MTU: Final = 72
_CANFD_BRS: Final = 1
_OPTS: Final = struct.Struct("=IIBBBB")
_RECV_FC: Final = struct.Struct("=BBB")
_LL_OPTS: Final = struct.Struct("=BBB")
_CAN_FRAME: Final = struct.Struct("=IB3x8s")
_CANFD_FRAME: Final = struct.Struct("=IBB2x64s")
_RECEIVE_BYTES: Final = 0x10000
_MOST_STALE_MESSAGES: Final = 16
_QUEUE_FULL_WAIT_S: Final = 1.0
_LEAST_SEND_S: Final = 2.5
_LOOK_EVERY_MS: Final = 40
_SLOWEST_FRAME_S: Final = 0.13
"""STmin is at most 127 ms (ISO 15765-2)."""
_INTERFACE_IS_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})
_RECEIVING_ERRORS: Final = frozenset({errno.EILSEQ, errno.ETIMEDOUT})

_NAMED: Final[dict[int, tuple[type[errors.TransportError], str]]] = {
    errno.ECOMM: (errors.NoFlowControl, "the ECU sent no flow control: it is off, or listens to another identifier"),
    errno.EILSEQ: (errors.WrongSequenceNumber, "a frame of the answer was lost (wrong sequence number)"),
    errno.ETIMEDOUT: (errors.ConsecutiveFrameTimeout, "the ECU stopped in the middle of its answer"),
    errno.EMSGSIZE: (errors.ReceiverOverflow, "the ECU cannot take a message of that length (flow status overflow)"),
    errno.EBADMSG: (errors.MalformedFrame, "a frame was padded or formed wrongly"),
    errno.EPROTO: (errors.MalformedFrame, "a flow control frame was formed wrongly"),
    errno.ENOBUFS: (
        errors.TransmitQueueFull,
        "the transmit queue stayed full: ip link set DEV txqueuelen 1000; is the bus terminated?",
    ),
    errno.ENETDOWN: (errors.InterfaceDown, "the interface is down: ip link set DEV up"),
    errno.ENETUNREACH: (errors.InterfaceDown, "the interface is down: ip link set DEV up"),
    errno.ENODEV: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
    errno.ENXIO: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
    errno.EADDRNOTAVAIL: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
}


def named(error: OSError, where: str) -> errors.TransportError:
    """The kernel's errno as an error with a name."""
    kind, text = _NAMED.get(error.errno or 0, (errors.TransportError, str(error)))
    return kind(f"{where}: {text}")


def polls_transmission(release: str) -> bool:
    """Whether the kernel of that release tells by POLLOUT that a message is out."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:3])
    return numbers >= (6, 3) or (numbers[:2] == (6, 1) and numbers >= (6, 1, 22))


class KernelConnection(IsoTpConnection):
    """One CAN_ISOTP socket."""

    def __init__(self, interface: str, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> None:
        super().__init__(f"{interface} 0x{request_id:X}")
        self._interface = interface
        self._where = f"{interface}, request 0x{request_id:X}, response 0x{response_id:X}"
        self._ids = (_with_flag(response_id), _with_flag(request_id))
        self._isotp = isotp
        self._polls = polls_transmission(platform.release())
        self._socket: socket.socket | None = None
        self._readable = select.poll()
        self._writable = select.poll()

    def open(self) -> KernelConnection:
        self.close()
        try:
            made = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
        except OSError as error:
            raise errors.ChannelUnavailable(
                f"{self._where}: this kernel has no CAN_ISOTP: modprobe can-isotp, or run by setup/with-can"
            ) from error
        try:
            _configure(made, self._isotp, waits=not self._polls)
            made.bind((self._interface, *self._ids))
        except OSError as error:
            made.close()
            raise _cannot_open(error, self._interface, self._isotp.fd) from error
        self._socket = made
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(made, select.POLLIN)
        self._writable.register(made, select.POLLOUT)
        return self

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def is_open(self) -> bool:
        return self._socket is not None

    def empty_rxqueue(self) -> None:
        if self._socket is None:
            return
        for _ in range(_MOST_STALE_MESSAGES):
            try:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                continue  # the error of a message nobody waits for any more; reading has cleared it

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        assert self._socket is not None
        deadline = time.monotonic() + _QUEUE_FULL_WAIT_S
        while True:
            try:
                self._socket.send(payload)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS or time.monotonic() > deadline:
                    raise named(error, self._where) from error
            time.sleep(0.002)
        if self._polls:
            self._await_transmission(self._socket, len(payload))

    def _await_transmission(self, sender: socket.socket, payload_bytes: int) -> None:
        """Until the message is out, or an answer is in (then it was). POLLOUT is looked at, not slept on: the kernel
        would wake us for each frame."""
        frames = payload_bytes // (63 if self._isotp.fd else 7) + 1
        deadline = time.monotonic() + _LEAST_SEND_S + frames * _SLOWEST_FRAME_S
        while not self._writable.poll(0):
            if self._readable.poll(_LOOK_EVERY_MS):
                break
            if time.monotonic() > deadline:
                self._abandon(sender)
                raise errors.TooManyWaitFrames(f"{self._where}: the ECU went on asking to wait (flow status wait)")
        number = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number and number not in _RECEIVING_ERRORS:
            raise named(OSError(number, ""), self._where)

    def _abandon(self, sender: socket.socket) -> None:
        """Leaves a socket in the middle of a message: closing it blocks until the ECU stops asking to wait."""
        self._socket = None
        threading.Thread(target=sender.close, name="close abandoned ISO-TP socket", daemon=True).start()
        self.open()

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        assert self._socket is not None
        if not self._readable.poll(None if timeout is None else max(0.0, timeout * 1000)):
            raise no_answer(f"{self._where}: no answer within {timeout:.3f} s")
        try:
            return self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise no_answer(f"{self._where}: no answer") from None
        except OSError as error:
            raise named(error, self._where) from error


class KernelChannel(Channel):
    """A socketcan interface."""

    transport = "kernel"

    def __init__(self, bus: Mapping[str, Any]) -> None:
        self.name = str(bus.get("channel", ""))
        self._fd = bool(bus.get("fd", False))
        self._raw: socket.socket | None = self._open_raw()

    def _open_raw(self) -> socket.socket:
        try:
            raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except OSError as error:
            raise _cannot_open(error, self.name, self._fd) from error
        try:
            raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            if self._fd:
                raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
            raw.bind((self.name,))
        except OSError as error:
            raw.close()
            raise _cannot_open(error, self.name, self._fd) from error
        return raw

    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        return KernelConnection(self.name, request_id=request_id, response_id=response_id, isotp=isotp)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        data = single_frame(payload, isotp.padding)
        if isotp.fd and self._fd:
            frame = _CANFD_FRAME.pack(_with_flag(can_id), len(data), _CANFD_BRS, data)
        else:
            frame = _CAN_FRAME.pack(_with_flag(can_id), len(data), data)
        where = f"{self.name}, functional request 0x{can_id:X}"
        if self._raw is None:
            raise errors.ChannelUnavailable(f"{where}: the channel is closed")
        deadline = time.monotonic() + _QUEUE_FULL_WAIT_S
        while True:
            try:
                self._raw.send(frame)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise named(error, where) from error
                if error.errno in _INTERFACE_IS_GONE:  # it may be there again: a socket stays bound to the old one
                    self._raw.close()
                    self._raw = self._open_raw()
                elif error.errno != errno.ENOBUFS:
                    raise named(error, where) from error
            time.sleep(0.002)

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None


def _with_flag(can_id: int) -> int:
    return can_id | socket.CAN_EFF_FLAG if can_id > socket.CAN_SFF_MASK else can_id


def _configure(made: socket.socket, isotp: IsoTpConfig, *, waits: bool) -> None:
    flags = (_FLAG_WAIT_TX_DONE if waits else 0) | (0 if isotp.padding is None else _FLAG_TX_PADDING)
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_OPTS, _OPTS.pack(flags, 0, 0, isotp.padding or 0, 0, 0))
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_RECV_FC, _RECV_FC.pack(isotp.block_size, isotp.st_min_ms, 0))
    link = (_CANFD_MTU, 64, _CANFD_BRS) if isotp.fd else (_CAN_MTU, 8, 0)
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_LL_OPTS, _LL_OPTS.pack(*link))


def _cannot_open(error: OSError, interface: str, fd: bool) -> errors.ChannelUnavailable:
    if error.errno == errno.ENODEV:
        why = "there is no such interface: run setup/vcan.sh, or run by setup/with-can"
    elif error.errno == errno.EAFNOSUPPORT:
        why = "this kernel has no CAN: run by setup/with-can"
    elif error.errno == errno.EINVAL and fd:
        why = "its MTU is too small for CAN FD: ip link set DEV mtu 72"
    elif error.errno == errno.ENETDOWN:
        why = "the interface is down: ip link set DEV up"
    else:
        why = str(error)
    return errors.ChannelUnavailable(f"{interface}: cannot be opened: {why}")
