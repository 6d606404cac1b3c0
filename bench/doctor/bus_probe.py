"""Check whether a bus of the bench file can be used now, for `otabench bench check` and `otabench doctor`.

* A SocketCAN interface must exist, be up, support CAN FD if the file requires it, and run at the file's bit rates.
* For any other interface its library must be installed, and python-can must be able to open it.
* The check does not send frames. It does not open a bus that a running bench may hold, because that would disturb a serial adapter.
"""

from __future__ import annotations

import importlib.util
import socket
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path
from typing import Final

from otabench.bench.bus import environment, interfaces, link_state, vcan
from otabench.bench.bus.link_state import LinkState
from otabench.bench.clients import running_bench
from otabench.bench.errors import BenchError
from otabench.bench.finding import Finding, fail
from otabench.bench.run_mark import Whereabouts
from otabench.bench.topology.entries import UDP_MULTICAST, BusEntry
from otabench.bench.topology.python_can import quiet

_SHARED: Final = frozenset({UDP_MULTICAST, "virtual", "socketcand"})
"""Interfaces that any number of programs may open."""
_RUNS: Final = Path("runs")
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
"""By interface: the import name of its package, and the extra of python-can that installs it."""
_VENDORS: Final = {
    "pcan": ("pcanbasic", "PEAK's PCAN-Basic (libpcanbasic.so)"),
    "kvaser": ("canlib", "Kvaser's CANlib (libcanlib.so)"),
}
"""By interface: file name and full name of the vendor's library."""


WINDOWS_ONLY: Final = {
    "etas": "",
    "iscan": "",
    "ixxat": "",
    "nican": "",
    "systec": "",
    "usb2can": "; Linux has a driver for 8devices' USB2CAN (usb_8dev): interface socketcan",
    "vector": "",
}
"""Interfaces that python-can 4.6 drives on Windows only, and what to do where Linux has a driver."""


def problem(bus: BusEntry) -> Finding | None:
    """Return why a bus cannot be used now, or None if it can be used."""
    if finding := environment.one_program_problem(bus):
        return finding
    if _is_made_by_the_bench(bus):
        return None
    if bus.interface == "socketcan":
        return environment.interface_problem(
            str(bus.channel), bitrate=bus.bitrate, data_bitrate=bus.data_bitrate, fd=bus.fd
        ) or _rate_problem(bus)
    finding = _missing_library(bus.interface)
    if finding is None and not _is_taken(bus):
        finding = (_socketcand_problem(bus) if bus.interface == "socketcand" else None) or _open_problem(bus)
    if finding is None:
        return None
    return replace(finding, problem=f"interface {bus.interface}, channel {bus.channel}: {finding.problem}")


def describe(bus: BusEntry) -> str:
    """Return a bus without a problem in words."""
    rate = f"{bus.bitrate // 1000} kbit/s" + (", CAN FD" if bus.fd else "")
    if _is_made_by_the_bench(bus):
        return f"{bus.channel} does not exist yet; a bench that comes up makes it (required: {rate})"
    if bus.interface == "socketcan":
        return f"{bus.channel} exists and is up (required: {rate})"
    if _is_taken(bus):
        return f"{bus.interface} {bus.channel} was not opened, because a bench of {_RUNS} is up"
    return f"{bus.interface} {bus.channel} can be opened (required: {rate})"


def _is_made_by_the_bench(bus: BusEntry) -> bool:
    return bus.is_vcan and not vcan.exists(str(bus.channel)) and vcan.can_make()


def rate_problem(bus: BusEntry, link: LinkState) -> Finding | None:
    """Return a finding if an interface does not run at the bit rates of the bench file, otherwise None."""
    differences = []
    # 0: the interface does not report its bit rate, e.g. an slcan interface that slcand has set up.
    if link.bitrate and link.bitrate != bus.bitrate:
        differences.append(f"runs at {link.bitrate} bit/s, but the bench file requires {bus.bitrate}")
    if bus.fd and link.data_bitrate and link.data_bitrate != (bus.data_bitrate or bus.bitrate):
        differences.append(
            f"has a data phase of {link.data_bitrate} bit/s, but the bench file requires {bus.data_bitrate or bus.bitrate}"
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
    except BenchError:
        # Without the command `ip` the bit rate cannot be read.
        return None


def _missing_library(interface: str) -> Finding | None:
    if interface in WINDOWS_ONLY:
        remedy = "use an adapter that Linux or python-can drives here (docs/hardware.md)" + WINDOWS_ONLY[interface]
        return fail(interface, "python-can drives these adapters on Windows only", remedy)
    package, extra = _PACKAGES.get(interface, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        return fail(interface, "the required Python package is not installed", f'`pip install "python-can[{extra}]"`')
    library, name = _VENDORS.get(interface, ("", ""))
    if library and find_library(library) is None:
        remedy = "install it, or use the kernel's driver: interface socketcan (docs/hardware.md)"
        return fail(interface, f"{name} is not installed", remedy)
    return None


def _is_taken(bus: BusEntry) -> bool:
    # Several programs may open these at the same time, so a running bench does not matter.
    if bus.interface in _SHARED:
        return False
    return bool(running_bench.benches_up(_RUNS, Whereabouts.HERE))


def _socketcand_problem(bus: BusEntry) -> Finding | None:
    """Return a finding if socketcand does not answer. python-can itself would try for ten seconds."""
    host, port = str(bus.options.get("host")), bus.options.get("port")
    try:
        socket.create_connection((host, int(str(port))), timeout=_CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"nothing answers at {host}:{port} ({reason})"
        return fail("socketcand", problem, "start socketcand there, or correct host and port")
    return None


def _open_problem(bus: BusEntry) -> Finding | None:
    import can

    try:
        with quiet():
            can.Bus(**bus.can_arguments()).shutdown()
    except TypeError as error:
        return fail(bus.interface, " ".join(str(error).split()), "correct the keys of this bus")
    except Exception as error:  # noqa: BLE001  # python-can's interfaces raise any exception
        text = " ".join(str(error).split()) or type(error).__name__
        return fail(bus.interface, text, _open_remedy(bus))
    return None


def _open_remedy(bus: BusEntry) -> str:
    if bus.interface == UDP_MULTICAST:
        return "give a multicast address such as 239.74.163.2 as channel, and check that a network interface is up"
    if bus.interface == "socketcand":
        return "check that the socketcand there serves this channel"
    return "check that the adapter is plugged in, its driver is installed, and no other program uses it"
