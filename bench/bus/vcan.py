"""Make and remove virtual CAN interfaces. This needs root, or sudo without a password.

The interfaces have the same settings as those of `setup/vcan.sh`: mtu 72 (CAN FD), txqueuelen 1000.
"""

from __future__ import annotations

from pathlib import Path

from otabench.bench.bus.system_commands import change
from otabench.bench.errors import AdapterError, BenchError

_INTERFACES = Path("/sys/class/net")


def ensure(name: str) -> bool:
    """Make the interface and set it up, unless it exists. Return whether it was made.

    Raises:
        BenchError: this kernel has no vcan, or root is needed.
    """
    if (_INTERFACES / name).exists():
        return False
    _ip("link", "add", "dev", name, "mtu", "72", "txqueuelen", "1000", "type", "vcan", what=f"make {name}")
    try:
        _ip("link", "set", "dev", name, "up", what=f"set {name} up")
    except BenchError:
        remove(name)
        raise
    return True


def remove(name: str) -> None:
    """Remove the interface.

    Raises:
        BenchError: it is not there, or root is needed.
    """
    _ip("link", "del", "dev", name, what=f"remove {name}")


def _ip(*arguments: str, what: str) -> None:
    try:
        done = change(["ip", *arguments])
    except AdapterError as error:
        raise BenchError(f"cannot {what}: {error}") from error
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise BenchError(
            f"cannot {what}: {reason}; it needs root, and a kernel with vcan: run the command by setup/with-can"
        )
