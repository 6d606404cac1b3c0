"""Options of the kernel's CAN sockets, and the meaning of their errors.

Python's ``socket`` module does not define all option numbers. Numbers and layouts here are those of ``linux/can/isotp.h``.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from typing import Final

from otabench.bench.setup_programs import command_of
from otabench.bench.uds.transport import errors
from otabench.proto.isotp_address import EndAddress
from otabench.proto.process_config import IsoTpConfig

CANFD_BRS: Final = 1
_SOL_CAN_ISOTP: Final = 106
_CAN_ISOTP_OPTS: Final = 1
_CAN_ISOTP_RECV_FC: Final = 2
_CAN_ISOTP_LL_OPTS: Final = 5
_FLAG_TX_PADDING: Final = 0x004
_FLAG_WAIT_TX_DONE: Final = 0x400
_CAN_MTU: Final = 16
_CANFD_MTU: Final = 72
_OPTS: Final = struct.Struct("=IIBBBB")
# struct can_isotp_fc_options: bs, stmin, wftmax.
_RECV_FC: Final = struct.Struct("=BBB")
# struct can_isotp_ll_options: mtu, tx_dl, tx_flags.
_LL_OPTS: Final = struct.Struct("=BBB")

_ERRORS: Final[dict[int, type[errors.TransportError]]] = {
    # The kernel's choices for the errors of ISO 15765-2 (net/can/isotp.c), then those of every CAN socket.
    errno.ECOMM: errors.NoFlowControl,
    errno.EILSEQ: errors.WrongSequenceNumber,
    errno.ETIMEDOUT: errors.ConsecutiveFrameTimeout,
    errno.EMSGSIZE: errors.ReceiverOverflow,
    errno.EBADMSG: errors.MalformedFrame,
    errno.EPROTO: errors.MalformedFrame,
    errno.ENOBUFS: errors.TransmitQueueFull,
    errno.ENETDOWN: errors.InterfaceDown,
    errno.ENETUNREACH: errors.InterfaceDown,
    errno.ENODEV: errors.InterfaceGone,
    errno.ENXIO: errors.InterfaceGone,
    errno.EADDRNOTAVAIL: errors.InterfaceGone,
}
_MALFORMED: Final = {
    errno.EBADMSG: "a frame has wrong padding or a wrong form",
    errno.EPROTO: "a flow control frame has a wrong form",
}


def error_from_errno(error: OSError, where: str) -> errors.TransportError:
    """Return the error of ``errors`` for an errno of the kernel."""
    number = error.errno or 0
    kind = _ERRORS.get(number, errors.TransportError)
    return kind(f"{where}: {_MALFORMED.get(number) or kind.text or error}")


def polls_transmission(release: str) -> bool:
    """Return whether, on a kernel of that release, POLLOUT of a CAN_ISOTP socket means that the last message was sent."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:3])
    return numbers >= (6, 3) or (numbers[:2] == (6, 1) and numbers >= (6, 1, 22))


def configure(isotp_socket: socket.socket, isotp: IsoTpConfig, address: EndAddress, *, waits: bool) -> None:
    """Set the options of a CAN_ISOTP socket that is not bound yet: the kernel refuses them afterwards.

    Args:
        waits: let ``send`` return only when the message was sent.

    Raises:
        OSError: the kernel does not accept an option.
    """
    flags = (_FLAG_WAIT_TX_DONE if waits else 0) | (0 if isotp.padding is None else _FLAG_TX_PADDING)
    options = address.kernel_options()
    flags |= options.flags
    packed = _OPTS.pack(flags, 0, options.ext_address, isotp.padding or 0, 0, options.rx_ext_address)
    isotp_socket.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_OPTS, packed)
    # Our flow control, for the ECU's long responses. wftmax 0: the kernel never asks to wait, it always has room.
    isotp_socket.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_RECV_FC, _RECV_FC.pack(isotp.block_size, isotp.st_min_ms, 0))
    # tx_dl: a CAN FD bus may have receivers for frames of 8 bytes only, so the bench file chooses the length.
    link = (_CANFD_MTU, isotp.frame_bytes(fd=True), CANFD_BRS) if isotp.fd else (_CAN_MTU, 8, 0)
    isotp_socket.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_LL_OPTS, _LL_OPTS.pack(*link))


def open_error(error: OSError, interface: str, fd: bool) -> errors.ChannelUnavailable:
    """Return the error for an interface that cannot be opened, with the remedy."""
    if error.errno == errno.ENODEV:
        why = f"there is no such interface: plug the adapter in, or run {command_of('vcan.sh')}, or run by {command_of('with-can')}"
    elif error.errno == errno.EAFNOSUPPORT:
        why = f"this kernel has no CAN: run by {command_of('with-can')}"
    elif error.errno == errno.EINVAL and fd:
        why = "its MTU is too small for CAN FD: ip link set DEV mtu 72"
    elif error.errno == errno.ENETDOWN:
        why = "the interface is down: ip link set DEV up"
    else:
        why = str(error)
    return errors.ChannelUnavailable(f"{interface}: cannot be opened: {why}")
