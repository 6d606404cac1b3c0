"""Whether a bus of the bench file can be used now: one judgement for `otabench bench check` and `otabench doctor`.

A SocketCAN interface must exist, be up, be CAN FD if the file says so, and run at the file's bit rates. For any other interface its
library must be installed, and python-can must be able to open it. No frame is sent. A bus that a running bench may hold is not
opened, because that would close a serial adapter under the bench.
"""

from __future__ import annotations

import importlib.util
import socket
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path
from typing import Final

from otabench.bench.bus import environment, interfaces, link_state
from otabench.bench.bus.link_state import LinkState
from otabench.bench.clients import running_bench
from otabench.bench.errors import BenchError, NoRunningBench
from otabench.bench.finding import Finding, fail
from otabench.bench.topology.entries import UDP_MULTICAST, BusEntry
from otabench.bench.topology.python_can import quiet

_SHARED: Final = frozenset({UDP_MULTICAST, "virtual", "socketcand"})
"""Interfaces that any number of programs may open."""
_RUN: Final = Path("runs/latest")
_CONNECT_S: Final = 2.0
_PACKAGES: Final = {
    "slcan": ("serial", "serial"),
    "serial": ("serial", "serial"),
    "robotell": ("serial", "serial"),
    "seeedstudio": ("serial", "seeedstudio"),
    "gs_usb": ("gs_usb", "gs-usb"),
    "neovi": ("ics", "neovi"),
    "canalystii": ("canalystii", "canalystii"),
    "cantact": ("cantact", "cantact"),
    "nixnet": ("nixnet", "nixnet"),
}
"""By interface: the package's import name, and python-can's extra that brings it."""
_VENDORS: Final = {
    "pcan": ("pcanbasic", "PEAK's PCAN-Basic (libpcanbasic.so)"),
    "kvaser": ("canlib", "Kvaser's CANlib (libcanlib.so)"),
}
"""By interface: the vendor's library."""


def problem(bus: BusEntry) -> Finding | None:
    """Return why a bus cannot be used now; None if it can."""
    if bus.interface == "socketcan":
        return environment.interface_problem(
            str(bus.channel), bitrate=bus.bitrate, data_bitrate=bus.data_bitrate, fd=bus.fd
        ) or _rate_problem(bus)
    found = _missing_library(bus.interface)
    if found is None and not _is_taken(bus):
        found = (_socketcand_problem(bus) if bus.interface == "socketcand" else None) or _refused(bus)
    if found is None:
        return None
    return replace(found, problem=f"interface {bus.interface}, channel {bus.channel}: {found.problem}")


def words(bus: BusEntry) -> str:
    """Return what is there, of a bus without a problem."""
    rate = f"{bus.bitrate // 1000} kbit/s" + (", CAN FD" if bus.fd else "")
    if bus.interface == "socketcan":
        return f"{bus.channel} is there and up ({rate} wanted)"
    if _is_taken(bus):
        return f"{bus.interface} {bus.channel} was not opened: the bench of {_RUN} runs"
    return f"{bus.interface} {bus.channel} is there ({rate} wanted)"


def rate_problem(bus: BusEntry, link: LinkState) -> Finding | None:
    """Return that an interface runs at other bit rates than the bench file's; None if it does not. Pure."""
    differences = []
    if link.bitrate and link.bitrate != bus.bitrate:
        differences.append(f"runs at {link.bitrate} bit/s, the bench file says {bus.bitrate}")
    if bus.fd and link.data_bitrate and link.data_bitrate != (bus.data_bitrate or bus.bitrate):
        differences.append(
            f"has a data phase of {link.data_bitrate} bit/s, the bench file says {bus.data_bitrate or bus.bitrate}"
        )
    if not differences:
        return None
    line = interfaces.up_line(link.channel, bitrate=bus.bitrate, data_bitrate=bus.data_bitrate, fd=bus.fd)
    problem = f"the CAN interface {link.channel} {' and '.join(differences)}"
    return fail(link.channel, problem, f"`{line}`, or correct the file")


def _rate_problem(bus: BusEntry) -> Finding | None:
    if bus.is_vcan:
        return None
    try:
        return rate_problem(bus, link_state.read(str(bus.channel)))
    except BenchError:  # no `ip` here: it cannot be judged
        return None


def _missing_library(interface: str) -> Finding | None:
    package, extra = _PACKAGES.get(interface, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        return fail(
            interface, "the Python package that it needs is not installed", f'`pip install "python-can[{extra}]"`'
        )
    library, name = _VENDORS.get(interface, ("", ""))
    if library and find_library(library) is None:
        remedy = "install it, or use the kernel's driver: interface socketcan (docs/hardware.md)"
        return fail(interface, f"{name} is not installed", remedy)
    return None


def _is_taken(bus: BusEntry) -> bool:
    if bus.interface in _SHARED:
        return False
    try:
        running_bench.find(_RUN)
    except NoRunningBench:
        return False
    return True


def _socketcand_problem(bus: BusEntry) -> Finding | None:
    """Return that no socketcand answers; python-can itself would try for ten seconds."""
    host, port = str(bus.options.get("host")), bus.options.get("port")
    try:
        socket.create_connection((host, int(str(port))), timeout=_CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"nothing answers at {host}:{port} ({reason})"
        return fail("socketcand", problem, "start socketcand there, or correct host and port")
    return None


def _refused(bus: BusEntry) -> Finding | None:
    import can

    try:
        with quiet():
            can.Bus(**bus.can_arguments()).shutdown()
    except TypeError as error:
        return fail(bus.interface, " ".join(str(error).split()), "correct the keys of this bus")
    except Exception as error:  # noqa: BLE001  # python-can's interfaces raise what they like
        said = " ".join(str(error).split()) or type(error).__name__
        return fail(bus.interface, said, _what_to_look_at(bus))
    return None


def _what_to_look_at(bus: BusEntry) -> str:
    if bus.interface == UDP_MULTICAST:
        return "channel is a multicast address, as 239.74.163.2, and needs a network interface that is up"
    if bus.interface == "socketcand":
        return "does the socketcand there serve this channel?"
    return "is the adapter plugged in, its driver installed, and no other program at it?"
