"""Check that this machine's kernel has the bench file's CAN interfaces, or run the bench without them.

Without them a bench runs on python-can's ``udp_multicast``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otabench.bench import ports
from otabench.bench.bus import interfaces, vcan
from otabench.bench.bus.link_state import CANFD_MTU
from otabench.bench.errors import BenchError
from otabench.bench.finding import Finding, fail
from otabench.bench.setup_programs import command_of
from otabench.bench.topology.entries import BusEntry
from otabench.bench.topology.model import Topology
from otabench.bench.uds.transport.opening import kernel_has_isotp

NO_KERNEL_CAN: Final = "OTABENCH_NO_KERNEL_CAN"
NO_KERNEL_CAN_LINE: Final = (
    "this is not the kernel's CAN: frames go over UDP multicast on this machine, with ISO-TP in user space; "
    "no candump, no pacing"
)
_KERNEL_OF_WITH_CAN: Final = "OTABENCH_KERNEL"
"""``setup/with-can --fallback`` sets it to ``none``, and prints the line and the reason itself."""
_INTERFACES: Final = Path("/sys/class/net")
_IFF_UP: Final = 1
_ARPHRD_CAN: Final = 280
_ARPHRD_LOOPBACK: Final = 772


def usable_topology(
    topology: Topology,
    *,
    kernel_can: bool | None = None,
    make_vcans: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Topology, bool]:
    """Return the topology as this machine can run it, and whether it runs on the kernel's CAN.

    Args:
        topology: the bench file's.
        kernel_can: whether to use the kernel's CAN. None: use it unless OTABENCH_NO_KERNEL_CAN is 1.
        make_vcans: make virtual interfaces that do not exist, where this user may.
        say: receives one line if the bench does not use the kernel's CAN, unless ``setup/with-can`` has printed it, and one for
            each interface that is made.

    Raises:
        BenchError: an interface is not there or is down.
    """
    for name, bus in topology.buses.items():
        if problem := one_program_problem(bus):
            raise BenchError(f"bus {name}: {problem.sentence()}")
    wanted = wants_kernel_can() if kernel_can is None else kernel_can
    if not any(bus.interface == "socketcan" for bus in topology.buses.values()):
        return topology, False
    if not wanted:
        for name in topology.boards():
            if topology.buses[topology.ecus[name].bus].interface == "socketcan":
                raise BenchError(
                    f"board {name} is on a SocketCAN interface, and the bench may not use this kernel's CAN; "
                    f"unset {NO_KERNEL_CAN}, or give its bus another interface of python-can (slcan, gs_usb, pcan, …)"
                )
        if os.environ.get(_KERNEL_OF_WITH_CAN) != "none":
            say(NO_KERNEL_CAN_LINE)
        return topology.without_kernel_can(udp_ports=ports.free_udp_ports(len(topology.buses))), False
    # Before the check below, which reports the interfaces that are still missing.
    if make_vcans:
        vcan.make_missing(topology.buses, say=say)
    for name, bus in topology.buses.items():
        if bus.interface != "socketcan":
            continue
        problem = interface_problem(str(bus.channel), bitrate=bus.bitrate, data_bitrate=bus.data_bitrate, fd=bus.fd)
        if problem:
            raise BenchError(f"bus {name}: {problem.sentence()}")
    return topology, True


def one_program_problem(bus: BusEntry) -> Finding | None:
    """Return why a bus cannot connect the programs of a bench, or None if it can."""
    if bus.interface != "virtual":
        return None
    problem = "interface virtual passes frames between the threads of one program, and a bench has several programs"
    return fail(str(bus.channel), problem, "use udp_multicast, or socketcan with a vcan interface")


def wants_kernel_can() -> bool:
    """Return whether the user wants the kernel's CAN. OTABENCH_NO_KERNEL_CAN=1 means no."""
    return os.environ.get(NO_KERNEL_CAN) != "1"


def interface_problem(
    channel: str, *, bitrate: int = 500_000, data_bitrate: int | None = None, fd: bool = False
) -> Finding | None:
    """Return why a SocketCAN interface cannot be used; None if it can.

    Args:
        channel: its name.
        bitrate, data_bitrate, fd: the bus's values in the bench file.
    """
    device = _INTERFACES / channel
    line = interfaces.up_line(channel, bitrate=bitrate, data_bitrate=data_bitrate, fd=fd)
    if not device.exists():
        by_line = f"plug the adapter in, then `slcand TTY {channel}` and `{line}` (docs/hardware.md)"
        remedy = (
            by_line
            if channel.startswith("slcan")
            else vcan_remedy(channel)
            if channel.startswith("vcan")
            else f"plug the adapter in and set it up: `{line}`"
        )
        return fail(channel, f"there is no CAN interface {channel} on this kernel", remedy)
    if (kind := _hardware_type(device)) not in (_ARPHRD_CAN, None):
        words = "the loopback interface" if kind == _ARPHRD_LOOPBACK else "not a CAN interface"
        return fail(channel, f"{channel} is {words}", "`ip -br link show type can` lists the CAN interfaces")
    # The MTU shows whether an interface takes CAN FD frames: 16 for classic CAN, 72 for CAN FD.
    if fd and _mtu(device) < CANFD_MTU:
        return fail(
            channel, f"the CAN interface {channel} is set to classic CAN, but the bench file has fd: true", f"`{line}`"
        )
    try:
        up = int((device / "flags").read_text(encoding="ascii"), 16) & _IFF_UP
        # The kernel takes the carrier away at bus-off. Of an interface that is down, the file cannot be read.
        has_carrier = not up or (device / "carrier").read_text(encoding="ascii").strip() != "0"
    except (OSError, ValueError):  # no sysfs here: it cannot be judged
        return None
    if not has_carrier:
        restart, set_up = f"`ip link set {channel} type can restart`", f"`{line}`"
        how = set_up if channel.startswith("slcan") else f"{restart} (a serial adapter: {set_up})"
        return fail(
            channel, f"the CAN interface {channel} is bus-off: it sends nothing", f"repair the wires, then {how}"
        )
    return None if up else fail(channel, f"the CAN interface {channel} is down", f"`{line}`")


def vcan_remedy(channel: str) -> str:
    """Return how to get a virtual interface: `setup/vcan.sh` makes one only on a kernel that has CAN."""
    if why_kernel_has_no_can():
        return f"this kernel has no CAN: run the command by `{command_of('with-can')}`"
    return f"run `sudo {command_of('vcan.sh')} {channel}`, or the command by `{command_of('with-can')}`"


def why_kernel_has_no_can() -> str:
    """Return why raw CAN sockets cannot be opened on this kernel; empty if they can. The first socket loads the kernel's module."""
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except (OSError, AttributeError) as error:  # AttributeError: a Python that was built without CAN
        return str(error)
    return ""


def virtual_bus_problem(channel: str) -> Finding | None:
    """Return why a vcan cannot be used; None if it can, or if it does not exist yet and the bench may make it."""
    return None if not vcan.exists(channel) and vcan.can_make() else interface_problem(channel)


def isotp_problem() -> Finding | None:
    """Return why this kernel has no ISO-TP; None if it has."""
    if kernel_has_isotp():
        return None
    return fail("isotp", "ISO-TP is not in this kernel", "modprobe can-isotp, or leave transport out")


def _hardware_type(device: Path) -> int | None:
    try:
        return int((device / "type").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _mtu(device: Path) -> int:
    try:
        return int((device / "mtu").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return CANFD_MTU
