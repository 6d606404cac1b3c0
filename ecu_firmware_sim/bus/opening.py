"""Opening the ECU's end of the bus: the kernel's ISO-TP where it exists, otherwise can-isotp in user space."""

from __future__ import annotations

import errno
import socket

from otabench.ecu_firmware_sim.bus.kernel import KernelTransport
from otabench.ecu_firmware_sim.bus.transport import Transport, Waker
from otabench.ecu_firmware_sim.errors import BusUnavailable
from otabench.proto.process_config import EcuConfig


def open_transport(config: EcuConfig, waker: Waker) -> Transport:
    """Open the transport that ``config.isotp.transport`` names; auto is the kernel's where it exists.

    Raises:
        BusUnavailable: the interface is absent or cannot be opened.
        ConfigError: the addresses do not fit each other.
    """
    if config.isotp.transport == "kernel" or (config.isotp.transport == "auto" and _kernel_has(config)):
        if config.bus.get("interface") != "socketcan":
            raise BusUnavailable(
                f"isotp.transport kernel needs the interface socketcan, not {config.bus.get('interface')}"
            )
        return KernelTransport(config, waker)
    # Late, because python-can takes long to import and the kernel's transport does not need it.
    from otabench.ecu_firmware_sim.bus.user_space_isotp import UserTransport

    return UserTransport(config, waker)


def _kernel_has(config: EcuConfig) -> bool:
    if config.bus.get("interface") != "socketcan" or not hasattr(socket, "CAN_ISOTP"):
        return False
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP).close()
    except OSError as error:
        # Without CAN at all, user space could not open its raw socket either: report it here, with the remedy.
        if error.errno == errno.EAFNOSUPPORT:
            raise BusUnavailable("this kernel has no CAN: run setup/vcan.sh or setup/with-can") from error
        return False
    return True
