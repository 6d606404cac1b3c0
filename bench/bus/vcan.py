"""Make and remove virtual CAN interfaces. This needs root, or sudo without a password.

The interfaces have the same settings as those of `setup/vcan.sh`: mtu 72 (CAN FD), txqueuelen 1000, and the module loaded with
echo=1. Without the echo, a vcan delivers frames before its queueing discipline sees them, so that pacing has no effect.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otabench.bench.bus import rights, system_commands
from otabench.bench.errors import AdapterError, BenchError
from otabench.bench.setup_programs import command_of

if TYPE_CHECKING:  # the frame gate needs this module, and none of pydantic, which takes half of a process's start
    from otabench.bench.topology.entries import BusEntry

_INTERFACES: Final = Path("/sys/class/net")
_MODULE: Final = Path("/sys/module/vcan")


def can_make() -> bool:
    """Return whether this user can make such interfaces on this kernel, without a password. Changes nothing."""
    has_module = _MODULE.is_dir() or _succeeds(["modprobe", "--dry-run", "--quiet", "vcan"])
    return has_module and _has("ip") and (_is_allowed() or _succeeds(["sudo", "-n", "true"]))


def ensure(name: str) -> bool:
    """Make the interface and set it up, unless it exists. Return whether it was made.

    Raises:
        BenchError: this kernel has no vcan, or root is needed.
    """
    if exists(name):
        return False
    if not _MODULE.is_dir() and _has("modprobe"):  # else the kernel loads it by itself, with echo=0
        # A kernel with vcan built in refuses, which does no harm: it has no module to load.
        system_commands.change(["modprobe", "vcan", "echo=1"])
    _ip("link", "add", "dev", name, "mtu", "72", "txqueuelen", "1000", "type", "vcan", what=f"make {name}")
    try:
        _ip("link", "set", "dev", name, "up", what=f"set {name} up")
    except BenchError:
        remove(name)
        raise
    return True


def make_missing(buses: Mapping[str, BusEntry], *, say: Callable[[str], None]) -> None:
    """Make the virtual interfaces of a bench file that do not exist. They stay, as those of ``setup/vcan.sh`` do.

    Args:
        buses: by name.
        say: receives one line for each interface that is made.

    Raises:
        BenchError: one cannot be made although this user may make some.
    """
    missing = {name: str(bus.channel) for name, bus in buses.items() if bus.is_vcan and not exists(str(bus.channel))}
    if missing and can_make():  # otherwise the check of the interfaces, which follows, has the remedy
        for name, channel in missing.items():
            if ensure(channel):
                say(f"bus {name}: {channel} made")


def exists(name: str) -> bool:
    """Return whether there is an interface of this name."""
    return (_INTERFACES / name).exists()


def remove(name: str) -> None:
    """Remove the interface.

    Raises:
        BenchError: it is not there, or root is needed.
    """
    _ip("link", "del", "dev", name, what=f"remove {name}")


def _ip(*arguments: str, what: str) -> None:
    try:
        done = system_commands.change(["ip", *arguments])
    except AdapterError as error:
        raise BenchError(f"cannot {what}: {error}") from error
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise BenchError(
            f"cannot {what}: {reason}; it needs root, and a kernel with vcan: run the command by {command_of('with-can')}"
        )


def _is_allowed() -> bool:
    with rights.elevated():
        allowed = system_commands.may_change_interfaces()
        return os.geteuid() == 0 if allowed is None else allowed


def _has(program: str) -> bool:
    return shutil.which(program, path=system_commands.search_path()) is not None


def _succeeds(command: Sequence[str]) -> bool:
    """Return whether a command exists and ends with status 0."""
    return _has(command[0]) and system_commands.query(command).returncode == 0
