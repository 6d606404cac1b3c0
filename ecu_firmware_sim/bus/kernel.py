"""ISO-TP by the kernel: the CAN_ISOTP socket, and two CAN_RAW sockets beside it.

One CAN_RAW socket receives the functional identifier. The other one receives the flow control frames that the kernel sends for this
ECU: they are the only sign of a reception in progress.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import select
import socket
import struct
import time
from typing import Final

from otabench.ecu_firmware_sim.bus.transport import (
    SEND_TIMEOUT_S,
    Received,
    TransportDown,
    Waker,
    addresses,
    functional_request,
    unavailable,
    uses_fd,
)
from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.proto.can_id import kernel_id
from otabench.proto.isotp_address import EndAddress
from otabench.proto.process_config import EcuConfig, IsoTpConfig

log = logging.getLogger(__name__)

# One more than the kernel's default max_pdu_size: no request is cut off by ``recv``.
_MAX_PDU_BYTES: Final = 8301
MAX_RECEPTION_S: Final = 90.0
"""4095 bytes in classic frames at the maximal STmin. A longer reception was broken off in a way that the kernel does not report."""
_CONTINUE_TO_SEND: Final = 0x30
"""First byte of a flow control frame that clears the sender to send."""

# linux/can/isotp.h
_SOL_CAN_ISOTP: Final = 106
_OPT_OPTS, _OPT_RECV_FC, _OPT_LL_OPTS = 1, 2, 5
_FLAG_TX_PADDING: Final = 0x004
_CANFD_BRS: Final = 1
_OPTS: Final = struct.Struct("=IIBBBB")  # flags, frame_txtime, ext_address, txpad, rxpad, rx_ext_address
_FC_OPTS: Final = struct.Struct("=BBB")  # bs, stmin, wftmax
_LL_OPTS: Final = struct.Struct("=BBB")  # mtu, tx_dl, tx_flags
_CAN_MTU, _CANFD_MTU = 16, 72

_BPF: Final = struct.Struct("=HBBI")
_SO_ATTACH_FILTER: Final = 26
_CAN_FRAME: Final = struct.Struct("=IB3x")  # identifier, length; 8 or 64 bytes of data follow
_GONE: Final = frozenset({errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.EBADF})


class KernelTransport:
    """The kernel's ISO-TP. The kernel sends flow control while the sockets are open."""

    def __init__(self, config: EcuConfig, waker: Waker) -> None:
        self._waker = waker
        channel = str(config.bus["channel"])
        fd = uses_fd(config)
        connection, self._functional = addresses(config)
        address = connection.ecu_end
        self._receiving_since_s: float | None = None
        try:
            self._isotp = socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP)
            self._raw = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
            self._flow_control = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        except OSError as error:
            raise BusUnavailable(
                f"this kernel has no CAN ({error.strerror}): run setup/vcan.sh or setup/with-can"
            ) from error
        try:
            _set_options(self._isotp, config.isotp, address, fd=fd)
            self._isotp.bind((channel, *address.kernel_ids))
            # For ``send`` only: ``receive`` reads what ``select`` has found.
            self._isotp.settimeout(SEND_TIMEOUT_S)
            # With extended addressing, physical requests have the same identifier and would fill the queue.
            if self._functional.extension is not None:
                _hear_only(self._raw, 0, self._functional.extension)
            _listen(self._raw, channel, self._functional.can_id, fd=fd)
            _hear_only(self._flow_control, len(address.sent.prefix), _CONTINUE_TO_SEND)
            # 0 gives the kernel's minimum: one frame is sign enough, and this socket is read only when S3 is due.
            self._flow_control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
            _listen(self._flow_control, channel, address.sent.can_id, fd=fd)
        except OSError as error:
            self.close()
            raise unavailable(channel, error) from error

    def receive(self, timeout_s: float | None) -> Received | None:
        sources: list[socket.socket | Waker] = [self._isotp, self._raw, self._waker]
        readable, _, _ = select.select(sources, [], [], timeout_s)
        if self._waker in readable:
            self._waker.clear()
        try:
            # Functional requests first: a tester that sends without pause must not keep them waiting.
            if self._raw in readable:
                frame = self._raw.recv(_CANFD_MTU)
                _identifier, length = _CAN_FRAME.unpack_from(frame)
                return functional_request(frame[_CAN_FRAME.size : _CAN_FRAME.size + length], self._functional)
            if self._isotp in readable:
                self._forget_reception()
                return self._isotp.recv(_MAX_PDU_BYTES), False
        except OSError as error:
            _survive(error, "receiving")
        return None

    def is_receiving(self) -> bool:
        now_s = time.monotonic()
        if self._was_cleared_to_send() and self._receiving_since_s is None:
            self._receiving_since_s = now_s
        return self._receiving_since_s is not None and now_s < self._receiving_since_s + MAX_RECEPTION_S

    def _forget_reception(self) -> None:
        """End the reception: the kernel has a message or an error, and either is its end."""
        self._was_cleared_to_send()
        self._receiving_since_s = None

    def _was_cleared_to_send(self) -> bool:
        """Return whether the kernel has cleared the tester to send since the last call."""
        seen = False
        try:
            while self._flow_control.recv(_CANFD_MTU, socket.MSG_DONTWAIT):
                seen = True
        except BlockingIOError:
            pass
        except OSError as error:
            _survive(error, "receiving")
        return seen

    def send(self, response: bytes) -> None:
        try:
            self._isotp.send(response)
        except OSError as error:
            _survive(error, f"sending {response[:3].hex()}")
            # Without CAN_ISOTP_WAIT_TX_DONE an error belongs to the response before, and this one was not sent yet.
            with contextlib.suppress(OSError):
                self._isotp.send(response)

    def close(self) -> None:
        self._isotp.close()
        self._raw.close()
        self._flow_control.close()


def _survive(error: OSError, what: str) -> None:
    # Errors of ISO 15765-2 come by the socket as well (ECOMM, EILSEQ, ETIMEDOUT, …): those concern one message only.
    if error.errno in _GONE:
        raise TransportDown(error.strerror or str(error)) from error
    log.warning("ISO-TP, %s: %s (%s)", what, error.strerror or error, errno.errorcode.get(error.errno or 0, "?"))


def _listen(raw_socket: socket.socket, channel: str, identifier: int, *, fd: bool) -> None:
    """Bind a CAN_RAW socket to one identifier."""
    # With both flags in the mask, a remote frame and the same number in the other format do not match.
    mask = socket.CAN_EFF_FLAG | socket.CAN_RTR_FLAG | socket.CAN_EFF_MASK
    raw_socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, struct.pack("=II", kernel_id(identifier), mask))
    if fd:
        raw_socket.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
    raw_socket.bind((channel,))


def _hear_only(raw_socket: socket.socket, position: int, value: int) -> None:
    """Let only frames into the socket whose data have ``value`` at ``position``: each other one would wake this process."""
    load_byte, equal, give_back = 0x30, 0x15, 0x06  # linux/filter.h, on the bytes of a struct can_frame
    program = (
        _BPF.pack(load_byte, 0, 0, _CAN_FRAME.size + position)
        + _BPF.pack(equal, 0, 1, value)
        + _BPF.pack(give_back, 0, 0, 0xFFFF)
        + _BPF.pack(give_back, 0, 0, 0)
    )
    code = ctypes.create_string_buffer(program)
    length = len(program) // _BPF.size
    raw_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", length, ctypes.addressof(code)))


def _set_options(isotp_socket: socket.socket, config: IsoTpConfig, address: EndAddress, *, fd: bool) -> None:
    flags, pad = (_FLAG_TX_PADDING, config.padding) if config.padding is not None else (0, 0)
    options = address.kernel_options()
    flags |= options.flags
    packed = _OPTS.pack(flags, 0, options.ext_address, pad, 0, options.rx_ext_address)
    isotp_socket.setsockopt(_SOL_CAN_ISOTP, _OPT_OPTS, packed)
    isotp_socket.setsockopt(_SOL_CAN_ISOTP, _OPT_RECV_FC, _FC_OPTS.pack(config.block_size, config.st_min_ms, 0))
    if fd:
        link = _LL_OPTS.pack(_CANFD_MTU, config.frame_bytes(fd=True), _CANFD_BRS)
        isotp_socket.setsockopt(_SOL_CAN_ISOTP, _OPT_LL_OPTS, link)
