"""How the kernel's CAN sockets are set up, and what their errors mean.

Layouts after the kernel's ``linux/can/isotp.h``.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
from typing import Final

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
_RECV_FC: Final = struct.Struct("=BBB")
_LL_OPTS: Final = struct.Struct("=BBB")

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
    errno.ENETDOWN: (errors.InterfaceDown, "the interface is down: plug the adapter in, or ip link set DEV up"),
    errno.ENETUNREACH: (errors.InterfaceDown, "the interface is down: plug the adapter in, or ip link set DEV up"),
    errno.ENODEV: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
    errno.ENXIO: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
    errno.EADDRNOTAVAIL: (errors.InterfaceGone, "the interface is gone: plug the adapter in, or run setup/vcan.sh"),
}


def named(error: OSError, where: str) -> errors.TransportError:
    """Return the kernel's errno as an error with a name."""
    kind, text = _NAMED.get(error.errno or 0, (errors.TransportError, str(error)))
    return kind(f"{where}: {text}")


def polls_transmission(release: str) -> bool:
    """Return whether the kernel of that release tells by POLLOUT that a message is out."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:3])
    return numbers >= (6, 3) or (numbers[:2] == (6, 1) and numbers >= (6, 1, 22))


def configure(made: socket.socket, isotp: IsoTpConfig, address: EndAddress, *, waits: bool) -> None:
    """Set a CAN_ISOTP socket up, before it is bound. ``waits``: ``send`` returns when the message is out.

    Raises:
        OSError: the kernel does not take it.
    """
    flags = (_FLAG_WAIT_TX_DONE if waits else 0) | (0 if isotp.padding is None else _FLAG_TX_PADDING)
    options = address.kernel_options()
    flags |= options.flags
    packed = _OPTS.pack(flags, 0, options.ext_address, isotp.padding or 0, 0, options.rx_ext_address)
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_OPTS, packed)
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_RECV_FC, _RECV_FC.pack(isotp.block_size, isotp.st_min_ms, 0))
    link = (_CANFD_MTU, isotp.frame_bytes(fd=True), CANFD_BRS) if isotp.fd else (_CAN_MTU, 8, 0)
    made.setsockopt(_SOL_CAN_ISOTP, _CAN_ISOTP_LL_OPTS, _LL_OPTS.pack(*link))


def cannot_open(error: OSError, interface: str, fd: bool) -> errors.ChannelUnavailable:
    """Return why an interface cannot be opened, and what to do."""
    if error.errno == errno.ENODEV:
        why = "there is no such interface: plug the adapter in, or run setup/vcan.sh, or run by setup/with-can"
    elif error.errno == errno.EAFNOSUPPORT:
        why = "this kernel has no CAN: run by setup/with-can"
    elif error.errno == errno.EINVAL and fd:
        why = "its MTU is too small for CAN FD: ip link set DEV mtu 72"
    elif error.errno == errno.ENETDOWN:
        why = "the interface is down: ip link set DEV up"
    else:
        why = str(error)
    return errors.ChannelUnavailable(f"{interface}: cannot be opened: {why}")
