"""What a machine must have for some tests: each by name, with how it is found and what to do where it is missing.

Whether this machine has it is found here; ``demands`` judges whether a test runs without it.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from otabench.bench.setup_programs import command_of


@dataclass(frozen=True)
class Capability:
    """One capability; a marker of that name asks for it."""

    present: Callable[[], bool]
    remedy: str


def _has_vcan() -> bool:
    if not Path("/sys/class/net/vcan0").exists():
        return False
    try:
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as probe:
            probe.bind(("vcan0",))
    except (OSError, AttributeError):
        return False
    return True


def _has_program(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name) is not None for name in names)


def find_postgresql() -> Path | None:
    """Return the folder of PostgreSQL's server programs, the newest version first, or None."""
    # Debian keeps them outside of PATH, one folder for each version.
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda folder: float(folder.parent.name))
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


CAPABILITIES: Final[dict[str, Capability]] = {
    "vcan": Capability(
        _has_vcan,
        f"no vcan0 on this kernel: run by `{command_of('with-can')}`, or `{command_of('vcan.sh')}` where the kernel has CAN",
    ),
    "browser": Capability(
        _has_program("chromium", "chromedriver"),
        f"chromium or chromedriver is missing: {command_of('packages.sh')} test",
    ),
    "mosquitto": Capability(_has_program("mosquitto"), f"mosquitto is missing: {command_of('packages.sh')} run"),
    "tshark": Capability(_has_program("tshark"), f"tshark is missing: {command_of('packages.sh')} test"),
    "postgresql": Capability(
        lambda: find_postgresql() is not None and find_spec("psycopg") is not None,
        f"PostgreSQL's server or psycopg is missing: {command_of('packages.sh')} test, and pip install otabench[postgresql]",
    ),
    "s3": Capability(
        lambda: shutil.which("swift-proxy-server") is not None and find_spec("s3fs") is not None,
        f"OpenStack Swift (an S3 server) or s3fs is missing: {command_of('packages.sh')} test, and pip install otabench[s3]",
    ),
    "nginx": Capability(_has_program("nginx"), f"nginx is missing: {command_of('packages.sh')} test"),
    "systemd": Capability(
        _has_program("systemd-analyze"), f"systemd-analyze is missing: {command_of('packages.sh')} test"
    ),
    "candump": Capability(_has_program("candump"), f"can-utils is missing: {command_of('packages.sh')} run"),
}
