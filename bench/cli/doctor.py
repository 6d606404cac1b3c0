"""``otabench doctor``: looks at this machine, one line each: ok, warn or fail, and what to do.

Decides what is looked at. Changes nothing. Exit status 1 where a line says fail.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from bench import environment, ports, process_setup
from bench.errors import BenchError

_LIBRARIES: Final = ("python-can", "can-isotp", "udsoncan", "tuf", "grpcio", "fastapi", "imgtool", "bsdiff4")
_ECHO: Final = Path("/sys/module/vcan/parameters/echo")


class Finding(NamedTuple):
    """One line: how it stands (ok, warn, fail), about what, and the words."""

    level: str
    about: str
    words: str


def examine() -> int:
    """Prints all findings; the exit status."""
    findings = [finding for check in _CHECKS for finding in check()]
    for level, about, words in findings:
        print(f"{level:<5} {about:<12} {words}")
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def _python() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    for library in _LIBRARIES:
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            yield Finding("fail", library, "is not installed: `make setup` makes the virtual environment")
            continue
        yield Finding("ok", library, version)


def _kernel() -> Iterator[Finding]:
    where = os.environ.get("OTABENCH_KERNEL", "this machine's")
    yield Finding("ok", "kernel", f"{platform.release()} {platform.machine()} ({where})")
    for name, family, kind, protocol, remedy in (
        ("can-raw", "AF_CAN", "SOCK_RAW", "CAN_RAW", "run by `setup/with-can`, which brings a kernel that has CAN"),
        (
            "can-isotp",
            "AF_CAN",
            "SOCK_DGRAM",
            "CAN_ISOTP",
            "`modprobe can-isotp`; without it ISO-TP runs in user space",
        ),
    ):
        level = "fail" if name == "can-raw" else "warn"
        try:
            socket.socket(getattr(socket, family), getattr(socket, kind), getattr(socket, protocol)).close()
        except (OSError, AttributeError) as error:
            yield Finding(level, name, f"not in this kernel ({error}): {remedy}")
        else:
            yield Finding("ok", name, "can be opened")


def _vcan() -> Iterator[Finding]:
    problem = environment.interface_problem("vcan0")
    if problem:
        yield Finding("fail", "vcan0", problem)
        return
    echo = _ECHO.read_text(encoding="ascii").strip() if _ECHO.exists() else "?"
    if echo == "Y":
        yield Finding("ok", "vcan0", "up, echo=1: can be paced")
    else:
        yield Finding("warn", "vcan0", "up, but vcan has echo=0: no pacing. `sudo modprobe -r vcan; setup/vcan.sh`")


def _tools() -> Iterator[Finding]:
    mosquitto = process_setup.find_mosquitto()
    if mosquitto:
        yield Finding("ok", "broker", mosquitto)
    else:
        yield Finding("warn", "broker", "mosquitto is not installed, amqtt stands in: setup/packages.sh run")
    for tool, use in (("tc", "pacing"), ("candump", "a look at the frames"), ("setpriv", "no orphan processes")):
        found = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        yield Finding("ok" if found else "warn", tool, found or f"is not installed ({use}): setup/packages.sh run")


def _ports() -> Iterator[Finding]:
    port = int(os.environ.get("HMI_PORT", "8080"))
    try:
        ports.require_free(port, purpose="the HMI", remedy="end that program, or HMI_PORT=8081")
    except BenchError as error:
        yield Finding("warn", "HMI port", str(error))
    else:
        yield Finding("ok", "HMI port", f"{port} is free")


_CHECKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (_kernel, _vcan, _tools, _ports, _python)
