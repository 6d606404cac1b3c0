"""Run `ip` and `tc` of iproute2, and `modprobe`, as root where that needs no password, and explain a refusal.

Why not a netlink library: docs/adr/0009-libraries-kept-out.md. ``bus.interfaces`` composes the commands of `otabench can`,
``bus.link_state`` reads what `ip` prints, ``bus.vcan`` and ``bus.pacing`` make virtual buses.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from otabench.bench.bus import rights
from otabench.bench.errors import AdapterError
from otabench.bench.setup_programs import command_of

_PACKAGE: Final = {"ip": "iproute2", "tc": "iproute2", "modprobe": "kmod"}
_STATUS: Final = Path("/proc/self/status")
_CAP_NET_ADMIN: Final = 12
"""Its bit in the set of capabilities (linux/capability.h)."""
_TIMEOUT_S: Final = 30.0
"""Far more than any command needs. Without a limit, a hanging driver would hang the bench."""


def search_path() -> str:
    """Return PATH with the folders of system programs, which Debian puts into root's PATH only."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def as_root(command: Sequence[str]) -> list[str]:
    """Return the command as it runs with root's rights: unchanged for root, else with `sudo`, which must not ask for a password."""
    # Without sudo the command is tried as it is: its own refusal is explained by why_refused.
    if os.geteuid() == 0 or shutil.which("sudo") is None:
        return list(command)
    return ["sudo", "-n", *command]


def may_change_interfaces() -> bool | None:
    """Return whether this process has CAP_NET_ADMIN, which root may not have in a container; None where it cannot be read."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        effective = int(next(line.split()[1] for line in lines if line.startswith("CapEff:")), 16)
    except (OSError, StopIteration, ValueError):
        return None
    return bool(effective >> _CAP_NET_ADMIN & 1)


def query(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that changes nothing, with the user's own rights. Its first word is the name of a program.

    Raises:
        AdapterError: the program is not installed, or does not end.
    """
    return _run(command, [_program(command[0]), *command[1:]])


def change(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that needs root's rights. Its first word is the name of a program.

    Raises:
        AdapterError: the program is not installed, or does not end.
    """
    with rights.elevated():
        return _run(command, as_root([_program(command[0]), *command[1:]]))


def _program(name: str) -> str:
    found = shutil.which(name, path=search_path())
    if found is None:
        raise AdapterError(
            f"`{name}` is not installed: {command_of('packages.sh')} run (Debian: {_PACKAGE.get(name, name)})"
        )
    return found


def _run(command: Sequence[str], argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise AdapterError(
            f"`{shlex.join(command)}` did not end within {_TIMEOUT_S:g} s: plug the adapter out and in, and look at dmesg"
        ) from error


def why_refused(command: Sequence[str], stderr: str, *, is_root: bool) -> str:
    """Return what a refusal of `ip` means, and what to do. Pure."""
    # By the words of iproute2 and sudo: `ip` ends with 2 for every refusal of the kernel.
    line, words = shlex.join(command), " ".join(stderr.split()) or "it printed nothing"
    if "not permitted" in words or "Permission denied" in words or "a password is required" in words:
        who = "root of this container does not have it" if is_root else "this user is not root"
        return (
            f"`{line}` needs the capability CAP_NET_ADMIN, and {who}: run `sudo {line}`, "
            "or let systemd-networkd set the interface up (docs/hardware.md)"
        )
    if "Cannot find device" in words or "does not exist" in words:
        return f"`{line}`: there is no such interface: plug the adapter in; `ip -br link show type can` lists what is there"
    if "RTNETLINK answers: Invalid argument" in words or "not supported" in words.lower():
        return f"`{line}`: the driver refuses: {words}; bit rate, CAN FD or listen-only is not for this adapter (docs/hardware.md)"
    return f"`{line}`: {words}"
