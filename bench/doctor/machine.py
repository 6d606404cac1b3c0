"""Read and judge this machine for `otabench doctor`: kernel, rights, interfaces, tools, ports, folders, libraries.

The checks change nothing and send no frames. They listen on real CAN interfaces for a moment.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Final

from otabench.bench import ports
from otabench.bench.bus import environment, link_state, pacing
from otabench.bench.bus.system_commands import may_change_interfaces, search_path
from otabench.bench.clients import running_bench
from otabench.bench.doctor import adapters, bus_probe, error_frames, links
from otabench.bench.errors import AdapterError, BenchError
from otabench.bench.finding import Finding, Severity, fail, ok, warn
from otabench.bench.launcher import boards, keys
from otabench.bench.launcher.specs import cloud
from otabench.bench.run_mark import Whereabouts
from otabench.bench.setup_programs import command_of
from otabench.bench.topology.model import Topology
from otabench.bench.uds.transport.opening import why_kernel_has_no_isotp

LISTEN_S: Final = 0.5
MIN_DISK_BYTES: Final = 200 * 1024 * 1024
_LIBRARIES: Final = (
    "python-can", "can-isotp", "udsoncan", "tuf", "securesystemslib", "pynacl", "cryptography", "grpcio", "protobuf",
    "fastapi", "uvicorn", "sqlalchemy", "pydantic", "imgtool", "bsdiff4",
)  # fmt: skip
_MODULES: Final = (
    "can",
    "can_raw",
    "can_isotp",
    "can_gw",
    "vcan",
    "vxcan",
    "slcan",
    "gs_usb",
    "peak_usb",
    "kvaser_usb",
)
_ECHO: Final = Path("/sys/module/vcan/parameters/echo")
_ERR_FLAG: Final = 0x2000_0000
_CAN_RAW_ERR_FILTER: Final = 2
_WITH_CAN: Final = f"run by `{command_of('with-can')}`, which provides a kernel with CAN"


def examine(topology: Topology) -> list[Finding]:
    """Return all findings about this machine and the buses of a bench file."""
    checks: tuple[Callable[[Topology], Iterator[Finding]], ...] = (
        _kernel, _rights, _modules, _interfaces, _named_buses, _adapters, _tools, _database, _ports, _keys, _disk, _versions,
    )  # fmt: skip
    return [finding for check in checks for finding in check(topology)]


def _kernel(topology: Topology) -> Iterator[Finding]:
    where = os.environ.get("OTABENCH_KERNEL", "this machine's")
    yield ok("kernel", f"{platform.release()} {platform.machine()} ({where})")
    raw, isotp = environment.why_kernel_has_no_can(), why_kernel_has_no_isotp()
    if not raw:
        yield ok("can-raw", "can be opened")
    elif any(bus.interface == "socketcan" for bus in topology.buses.values()):
        yield fail("can-raw", f"not in this kernel ({raw})", _WITH_CAN)
    else:
        yield ok("can-raw", f"not in this kernel ({raw}), and no bus of the bench file is a SocketCAN interface")
    if isotp:
        remedy = _WITH_CAN if raw else "modprobe can-isotp; ISO-TP runs in user space until then"
        yield warn("can-isotp", f"not in this kernel ({isotp})", remedy)
    else:
        yield ok("can-isotp", "can be opened")


def _rights(_: Topology) -> Iterator[Finding]:
    allowed = may_change_interfaces()
    if allowed is None:
        return
    if allowed:
        yield ok("rights", "CAP_NET_ADMIN: interfaces can be set up and paced")
    else:
        yield warn(
            "rights",
            "no CAP_NET_ADMIN: interfaces cannot be set up or paced by this user",
            f"{environment.vcan_remedy('vcan0')} (vcan.sh: once after each boot); adapter: systemd-networkd (docs/hardware.md)",
        )


def _modules(_: Topology) -> Iterator[Finding]:
    present = [name for name in _MODULES if Path("/sys/module", name).is_dir()]
    yield ok("modules", ", ".join(present) if present else "no CAN module is loaded, or all are built in")
    # With echo=0 a vcan loops its frames back before the queueing discipline, so pacing has no effect.
    if "vcan" in present and _ECHO.exists():
        if _ECHO.read_text(encoding="ascii").strip() == "Y":
            yield ok("vcan", "echo=1: can be paced")
            yield _pace()
        else:
            yield warn("vcan", "loaded with echo=0: cannot be paced", f"sudo modprobe -r vcan; {command_of('vcan.sh')}")


def _pace() -> Finding:
    if pacing.kernel_has_canline():
        return ok("pace", f"{pacing.EXACT}, each frame by its own bits (canline)")
    return warn(
        "pace",
        f"by the {pacing.MEAN}: canline is not loaded",
        f"sudo {command_of('canline.sh')}, for each frame's own bits",
    )


def _interfaces(topology: Topology) -> Iterator[Finding]:
    bitrates = {
        str(bus.channel): bus.bitrate
        for bus in topology.buses.values()
        if bus.interface == "socketcan" and not bus.is_vcan
    }
    try:
        found = [link for kind in ("can", "vcan", "vxcan") for link in link_state.read_kind(kind)]
    except AdapterError as error:
        yield warn("interfaces", "states and counters cannot be read", str(error))
        return
    if not found and not bitrates:
        yield ok("interfaces", "no CAN interface on this kernel")
    elif not found:
        yield warn("interfaces", "no CAN interface on this kernel", f"plug the adapter in, or {_WITH_CAN}")
    for link in found:
        yield from links.judge([link], bitrates=bitrates)
        if not link.is_virtual and link.is_up and not link.is_off_bus:
            yield from _listen(link.channel)


def _listen(name: str) -> list[Finding]:
    errors, frames, until = [], 0, time.monotonic() + LISTEN_S
    try:
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as listener:
            listener.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_ERR_FILTER, struct.pack("=I", 0x1FFF_FFFF))
            listener.bind((name,))
            while (left := until - time.monotonic()) > 0:
                listener.settimeout(left)
                try:
                    frame = listener.recv(16)
                except TimeoutError:
                    break
                can_id = struct.unpack_from("=I", frame)[0]
                if can_id & _ERR_FLAG:
                    errors.append((can_id & ~_ERR_FLAG, frame[8:16]))
                else:
                    frames += 1
    except OSError as error:
        return [warn(name, f"cannot be opened for listening: {error.strerror}", f"ip link set {name} up")]
    return error_frames.judge(name, errors, data_frames=frames, seconds=LISTEN_S)


def _named_buses(topology: Topology) -> Iterator[Finding]:
    for name, bus in topology.buses.items():
        where = f"bus {name}"
        found = bus_probe.problem(bus)
        yield replace(found, where=where) if found else ok(where, bus_probe.describe(bus))


def _adapters(topology: Topology) -> Iterator[Finding]:
    # Whether an adapter that cannot be used here is plugged in does not matter.
    interfaces_without_adapter = ("udp_multicast", "virtual", "socketcand", *bus_probe.WINDOWS_ONLY)
    real = [
        bus for bus in topology.buses.values() if not bus.is_vcan and bus.interface not in interfaces_without_adapter
    ]
    is_missing = any(
        bus.interface != "socketcan" or not Path("/sys/class/net", str(bus.channel)).exists() for bus in real
    )
    yield from adapters.judge(adapters.find(), is_needed=bool(real), is_missing=is_missing)


def _tools(_: Topology) -> Iterator[Finding]:
    broker = cloud.find_mosquitto()
    if broker:
        yield ok("broker", broker)
    else:
        yield warn(
            "broker", "mosquitto is not installed; the bench uses amqtt instead", f"{command_of('packages.sh')} run"
        )
    for tool, use, packages in (
        ("tc", "pacing", "run"),
        ("candump", "a look at the frames", "run"),
        ("setpriv", "no orphan processes", "run"),
        ("tshark", "a look into captures", "test"),
    ):
        found = shutil.which(tool, path=search_path())
        yield (
            ok(tool, found)
            if found
            else warn(tool, f"is not installed ({use})", f"{command_of('packages.sh')} {packages}")
        )


def _database(_: Topology) -> Iterator[Finding]:
    """Check that SQLite can write in the runs folder. A commit needs file locks, which some network file systems do not support."""
    folder = _runs_folder()
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            connection = sqlite3.connect(Path(scratch, "cloud.db"))
            try:
                # Cloud and gateway use the write-ahead log, which needs shared memory on the file system.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE probe (x)")
                connection.commit()
            finally:
                connection.close()
    except PermissionError:
        yield fail("database", f"this user may not write in {folder}", "run from a folder of your own, or --runs-dir")
    except (OSError, sqlite3.Error) as error:
        yield fail(
            "database", f"SQLite cannot write in {folder}: {error}", "run from a folder on a local disk, or --runs-dir"
        )
    else:
        yield ok("database", f"SQLite {sqlite3.sqlite_version} writes in {folder}")


def _ports(_: Topology) -> Iterator[Finding]:
    # The Makefile passes HMI_PORT to the bench.
    given = os.environ.get("HMI_PORT", "8080")
    if not given.isascii() or not given.isdigit() or len(given) > 5 or not 0 < int(given) < 65536:
        yield fail("HMI port", f"HMI_PORT={given[:40]} is not a port number", "HMI_PORT=8080")
        return
    try:
        ports.require_free(int(given), purpose="the HMI", remedy="")
    except BenchError as error:
        owner = _owner_of_page(int(given))
        yield (
            ok("HMI port", f"{given} is the driver's page of the bench of {owner}, which is up")
            if owner
            else warn("HMI port", str(error).rstrip("; "), "end that program, or HMI_PORT=8081")
        )
    else:
        yield ok("HMI port", f"{given} is free")


def _owner_of_page(port: int) -> Path | None:
    """Return the run of this folder whose bench serves its driver's page there; a guest's page is led to a port of this machine."""
    in_guest = "OTABENCH_GUEST" in os.environ
    places = (Whereabouts.HERE,) if in_guest else (Whereabouts.HERE, Whereabouts.ELSEWHERE)
    for run in running_bench.benches_up(Path("runs"), *places):
        if (running_bench.published(run) or {}).get("hmi_port") == port:
            return run
    return None


def _keys(topology: Topology) -> Iterator[Finding]:
    folder = topology.keys or Path("keys").resolve()
    if topology.keys is None and topology.boards():
        yield boards.NO_KEYS
        return
    if topology.keys is None and not folder.is_dir():
        yield ok("keys", "no folder ./keys, and the bench file does not name one: every run makes its own keys")
        return
    if found := keys.folder_problem(folder, topology):
        yield found if topology.keys else replace(found, severity=Severity.WARN)
        return
    loose = [path.name for path in folder.glob("*/*.pem") if path.name == "signing.pem" and path.stat().st_mode & 0o077]
    if loose:
        yield warn("keys", f"{', '.join(loose)} can be read by others", f"chmod 600 {folder}/image/signing.pem")
    else:
        yield ok("keys", str(folder))


def _disk(_: Topology) -> Iterator[Finding]:
    folder = _runs_folder()
    free = shutil.disk_usage(folder).free
    words = f"{free / 1024**3:.1f} GiB free in {folder}"
    yield ok("disk", words) if free >= MIN_DISK_BYTES else warn("disk", words, "remove old runs: make clean")


def _versions(_: Topology) -> Iterator[Finding]:
    yield ok("python", f"{platform.python_version()} at {sys.executable}")
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {metadata.version(library)}")
        except metadata.PackageNotFoundError:
            yield fail(library, "is not installed", "`make setup` makes the virtual environment")
    yield ok("libraries", ", ".join(found))


def _runs_folder() -> Path:
    folder = Path("runs")
    return folder.resolve() if folder.is_dir() else Path.cwd()
