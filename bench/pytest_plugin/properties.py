"""The properties of a run in the JUnit file: bench file, adapters, ECUs and their versions at the start, commit of the tests.

Names and wording of the properties; ``plugin`` puts them into the file.
"""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

from otabench.bench.errors import BenchError
from otabench.bench.pytest_plugin.run import BenchRun
from otabench.bench.topology.entries import BusEntry

_INTERFACES: Final = Path("/sys/class/net")
_GIT_TIMEOUT_S: Final = 10.0


def properties_of(run: BenchRun) -> dict[str, str]:
    """Return the properties of a run whose bench is up.

    Raises:
        FlashError: an ECU does not report its identity.
    """
    bench = run.bench
    if bench is None:
        raise BenchError("the bench is not up")
    found = {
        "otabench.version": _own_version(),
        "otabench.bench": str(run.bench_file or run.bench_name),
        "otabench.run_folder": str(bench.folder.root),
        "otabench.adapters": "; ".join(f"{name}: {adapter(bus)}" for name, bus in bench.topology.buses.items()),
        "otabench.git_commit": git_commit(run.root) or "none",
    }
    for name, entry in bench.topology.ecus.items():
        identity = bench.tester.identity(name)
        found[f"otabench.ecu.{name}"] = (
            f"{identity.software_version} ({entry.kind}, hardware {identity.hardware_id}, serial {identity.serial})"
        )
    return found


def adapter(bus: BusEntry) -> str:
    """Return one bus: interface and channel as python-can has them, bit rate, and a real adapter's driver and serial number."""
    rate = f"{bus.bitrate} bit/s" + (f", FD {bus.data_bitrate or bus.bitrate} bit/s" if bus.fd else "")
    words = f"{bus.interface} {bus.channel}, {rate}"
    if bus.interface != "socketcan":
        return words
    device = _INTERFACES / str(bus.channel) / "device"
    driver = device / "driver"
    if driver.exists():
        words += f", driver {driver.resolve().name}"
    serial = device.resolve().parent / "serial"
    if device.exists() and serial.is_file():
        words += f", serial {serial.read_text(encoding='ascii', errors='replace').strip()}"
    return words


def git_commit(folder: Path) -> str:
    """Return the commit of the repository a folder is in, with ``-dirty`` where it is; empty where there is none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _own_version() -> str:
    try:
        return metadata.version("otabench")
    except metadata.PackageNotFoundError:
        return "unknown"
