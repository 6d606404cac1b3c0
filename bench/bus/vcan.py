"""Make and remove virtual CAN interfaces. This needs root, or sudo without a password.

The interfaces have the same settings as those of `setup/vcan.sh`: mtu 72 (CAN FD), txqueuelen 1000.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from otabench.bench.errors import BenchError

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
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if ip is None:
        raise BenchError(f"cannot {what}: ip is not installed: setup/packages.sh run")
    command = [ip, *arguments]
    if os.geteuid() != 0 and shutil.which("sudo") is not None:
        command = ["sudo", "-n", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise BenchError(
            f"cannot {what}: {said}; it needs root, and a kernel with vcan: run the command by setup/with-can"
        )
