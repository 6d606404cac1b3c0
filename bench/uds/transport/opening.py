"""Open a bus for the tester: with the kernel's ISO-TP if the kernel has it, otherwise with can-isotp in user space.

::

    channel = open_channel({"interface": "socketcan", "channel": "vcan0"}, IsoTpConfig())
    connection = channel.connection(request_id=0x7E0, response_id=0x7E8, isotp=IsoTpConfig())
    with connection.open():
        connection.send(bytes.fromhex("22 F1 89"))
        response = connection.wait_frame(timeout=0.1)
    channel.close()
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from otabench.bench.uds.transport.channel import Channel
from otabench.bench.uds.transport.errors import ChannelUnavailable
from otabench.bench.uds.transport.kernel import KernelChannel
from otabench.bench.uds.transport.user_space import UserChannel  # udsoncan imports python-can and can-isotp anyway
from otabench.proto.process_config import IsoTpConfig


def why_kernel_has_no_isotp() -> str:
    """Return why CAN_ISOTP sockets cannot be opened on this kernel; empty if they can.

    Opening a socket is the only reliable probe: the module may be built into the kernel, or be loaded by the first socket.
    """
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()
    except (OSError, AttributeError) as error:  # AttributeError: a Python that was built without CAN
        return str(error)
    return ""


def kernel_has_isotp() -> bool:
    """Return whether CAN_ISOTP sockets can be opened on this kernel."""
    return not why_kernel_has_no_isotp()


def open_channel(bus: Mapping[str, Any], isotp: IsoTpConfig) -> Channel:
    """Open a bus.

    Args:
        bus: as passed on to ``can.Bus``: interface, channel, fd, …
        isotp: its ``transport`` chooses the implementation. ``auto`` is the kernel's on socketcan, if the kernel has ISO-TP.

    Raises:
        ChannelUnavailable: the bus cannot be opened; the message contains the remedy.
    """
    # The kernel's ISO-TP needs a network interface, which only socketcan has.
    is_socketcan = bus.get("interface") == "socketcan"
    if isotp.transport == "kernel" and not is_socketcan:
        raise ChannelUnavailable(
            f"bus {bus.get('channel')}: transport kernel needs interface socketcan, not {bus.get('interface')}: "
            "use transport auto or user"
        )
    if isotp.transport == "kernel" or (isotp.transport == "auto" and is_socketcan and kernel_has_isotp()):
        return KernelChannel(bus)
    return UserChannel({**bus, "fd": True} if isotp.fd else bus)
