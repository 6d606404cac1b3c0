"""ISO-TP by the kernel: one CAN_ISOTP socket per ECU, one CAN_RAW socket per bus for functional requests.

The kernel segments, pads and keeps block size and STmin, so no frame passes through Python. It reports an error of a message as the errno
of the next call; ``kernel_socket`` maps it to ``errors``. A controller that leaves the bus causes no errno; ``bus_off`` watches for it.

``specific_send`` waits until the last frame was sent. How depends on the kernel:

* Usually it polls, with a time limit of its own, because the kernel accepts any number of flow controls with status wait. The limit allows
  the slowest STmin for every frame.
* Some kernels report a busy CAN_ISOTP socket as writable (before 6.3, and before 6.1.22 in the long-term line). There it uses
  CAN_ISOTP_WAIT_TX_DONE instead, and an ECU that never stops asking to wait can block it.
"""

from __future__ import annotations

import errno
import platform
import select
import socket
import struct
import threading
from collections.abc import Mapping
from typing import Any, Final

from otabench.bench.deadline import Deadline
from otabench.bench.setup_programs import command_of
from otabench.bench.uds.transport import errors
from otabench.bench.uds.transport.bus_off import BusOffWatch, bus_off, is_off
from otabench.bench.uds.transport.channel import (
    QUEUE_FULL_PAUSE_S,
    QUEUE_FULL_TIMEOUT_S,
    Channel,
    IsoTpConnection,
    resolve_address,
    resolve_functional_address,
    response_timeout,
    single_frame,
    with_bus_fd,
)
from otabench.bench.uds.transport.kernel_socket import (
    CANFD_BRS,
    configure,
    error_from_errno,
    open_error,
    polls_transmission,
)
from otabench.proto.process_config import IsoTpConfig

_CAN_FRAME: Final = struct.Struct("=IB3x8s")
_CANFD_FRAME: Final = struct.Struct("=IBB2x64s")
_RECEIVE_BYTES: Final = 0x10000
"""More than any message. ``recv`` silently cuts off what does not fit."""
_MAX_STALE_MESSAGES: Final = 16
# Longer than the kernel's own limits for a flow control (1 s) and for the echo of a frame (2 s), so that its more precise error comes
# first.
_MIN_SEND_S: Final = 2.5
# Below P2 (50 ms): a request's P2 starts when the send returns, and must not start a whole P2 late.
_POLL_INTERVAL_MS: Final = 40
_INTERFACE_IS_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})
_RECEIVING_ERRORS: Final = frozenset({errno.EILSEQ, errno.ETIMEDOUT})
_SLOWEST_FRAME_S: Final = 0.13
"""STmin is at most 127 ms (ISO 15765-2)."""


class KernelConnection(IsoTpConnection):
    """One CAN_ISOTP socket, and a watch for bus-off."""

    def __init__(self, interface: str, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> None:
        super().__init__(f"{interface} 0x{request_id:X}")
        self._interface = interface
        self._where = f"{interface}, request 0x{request_id:X}, response 0x{response_id:X}"
        self._address = resolve_address(
            isotp, request_id=request_id, response_id=response_id, name=interface
        ).tester_end
        self._isotp = isotp
        self._polls = polls_transmission(platform.release())
        self._socket: socket.socket | None = None
        self._watch: BusOffWatch | None = None
        self._readable = select.poll()
        self._writable = select.poll()

    def open(self) -> KernelConnection:
        self.close()
        try:
            isotp_socket = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
        except OSError as error:
            raise errors.ChannelUnavailable(
                f"{self._where}: this kernel has no CAN_ISOTP: modprobe can-isotp, or run by {command_of('with-can')}"
            ) from error
        try:
            configure(isotp_socket, self._isotp, self._address, waits=not self._polls)
            isotp_socket.bind((self._interface, *self._address.kernel_ids))
            self._watch = BusOffWatch(self._interface)
        except OSError as error:
            isotp_socket.close()
            raise open_error(error, self._interface, self._isotp.fd) from error
        self._socket = isotp_socket
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(isotp_socket, select.POLLIN)
        # A bus-off wakes a caller that waits for a response: the response will not come.
        self._readable.register(self._watch, select.POLLIN)
        self._writable.register(isotp_socket, select.POLLOUT)
        return self

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def is_open(self) -> bool:
        return self._socket is not None

    def empty_rxqueue(self) -> None:
        if self._socket is None:
            return
        # Bounded, so that a node that never stops sending cannot hold the caller here.
        for _ in range(_MAX_STALE_MESSAGES):
            try:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                # This is the error of a message that the caller no longer awaits. The call has cleared it.
                continue

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        assert self._socket is not None
        self._has_gone_off()  # discard an earlier bus-off: it does not concern this request
        self._require_on()
        deadline = Deadline(QUEUE_FULL_TIMEOUT_S)
        while True:
            try:
                self._socket.send(payload)
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS or deadline.has_passed():
                    raise error_from_errno(error, self._where) from error
            deadline.pause(QUEUE_FULL_PAUSE_S)
        if self._polls:
            self._await_transmission(self._socket, len(payload))

    def _await_transmission(self, sender: socket.socket, payload_bytes: int) -> None:
        """Wait until the message was sent, or a response arrived, which proves the same.

        Sleep on the receiving side and only test POLLOUT. A sleeper on POLLOUT would be woken for every frame.
        """
        bytes_per_frame = self._isotp.frame_bytes(fd=self._isotp.fd) - 1 - len(self._address.sent.prefix)
        frames = payload_bytes // bytes_per_frame + 1
        deadline = Deadline(_MIN_SEND_S + frames * _SLOWEST_FRAME_S)
        while not self._writable.poll(0):
            if self._readable.poll(_POLL_INTERVAL_MS):
                break
            if deadline.has_passed():
                self._require_on()
                self._abandon(sender)
                raise errors.TooManyWaitFrames(f"{self._where}: {errors.TooManyWaitFrames.text}")
        # SO_ERROR reads and clears the error of the sent message. Otherwise the next call would raise it.
        number = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self._has_gone_off():
            raise bus_off(self._interface, self._where)
        # A receiving error belongs to the response, not to this request.
        if number and number not in _RECEIVING_ERRORS:
            self._require_on()
            raise error_from_errno(OSError(number, ""), self._where)

    def _abandon(self, sender: socket.socket) -> None:
        """Replace a socket in the middle of a message.

        A thread closes the old socket, because ``close`` blocks while the ECU asks to wait.
        """
        self._socket = None
        threading.Thread(target=sender.close, name="close abandoned ISO-TP socket", daemon=True).start()
        self.open()

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        assert self._socket is not None
        is_there = self._readable.poll(None if timeout is None else max(0.0, timeout * 1000))
        if self._has_gone_off():
            raise bus_off(self._interface, self._where)
        if not is_there:
            self._require_on()
            raise response_timeout(f"{self._where}: no answer within {timeout:.3f} s")
        try:
            return self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise response_timeout(f"{self._where}: no answer") from None
        except OSError as error:
            raise error_from_errno(error, self._where) from error

    def _has_gone_off(self) -> bool:
        """Return whether the controller left the bus since the last call. It may have returned meanwhile."""
        return self._watch is not None and self._watch.happened()

    def _require_on(self) -> None:
        if is_off(self._interface):
            raise bus_off(self._interface, self._where)


class KernelChannel(Channel):
    """A SocketCAN interface."""

    transport = "kernel"

    def __init__(self, bus: Mapping[str, Any]) -> None:
        self.name = str(bus.get("channel", ""))
        self._fd = bool(bus.get("fd", False))
        self._is_closed = False
        self._raw: socket.socket | None = self._open_raw()

    def _open_raw(self) -> socket.socket:
        try:
            raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except OSError as error:
            raise open_error(error, self.name, self._fd) from error
        try:
            # Receive nothing: this socket only sends, and unread frames would fill its buffer.
            raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
            # This option only permits FD frames. Classic frames may be sent through the same socket.
            raw.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
            raw.bind((self.name,))
        except OSError as error:
            raw.close()
            raise open_error(error, self.name, self._fd) from error
        return raw

    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        isotp = with_bus_fd(self._fd, isotp)
        return KernelConnection(self.name, request_id=request_id, response_id=response_id, isotp=isotp)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        address = resolve_functional_address(isotp, functional_id=can_id, name=self.name)
        data = single_frame(payload, isotp.padding, prefix=address.prefix)
        if isotp.fd or self._fd:
            frame = _CANFD_FRAME.pack(address.kernel_id, len(data), CANFD_BRS, data)
        else:
            frame = _CAN_FRAME.pack(address.kernel_id, len(data), data)
        where = f"{self.name}, functional request 0x{address.can_id:X}"
        if self._is_closed:
            raise errors.ChannelUnavailable(f"{where}: the channel is closed")
        if is_off(self.name):
            raise bus_off(self.name, where)
        deadline = Deadline(QUEUE_FULL_TIMEOUT_S)
        while True:
            try:
                # The interface was lost before. Retry until the deadline, because the adapter may be coming back.
                if self._raw is None:
                    self._raw = self._open_raw()
                self._raw.send(frame)
                return
            except errors.ChannelUnavailable:
                if deadline.has_passed():
                    raise
            except OSError as error:
                if error.errno in _INTERFACE_IS_GONE:
                    # The socket stays bound to the removed interface even if it came back. Open a new socket.
                    self._forget_raw()
                elif error.errno != errno.ENOBUFS:
                    raise error_from_errno(error, where) from error
                if deadline.has_passed():
                    raise error_from_errno(error, where) from error
            deadline.pause(QUEUE_FULL_PAUSE_S)

    def close(self) -> None:
        self._is_closed = True
        self._forget_raw()

    def _forget_raw(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None
