"""One bench, one run at a time: a lock file for each bus, held as long as the run lasts.

    with held(buses_of(topology), bench="my.bench.yaml", wait_s=60, say=print):
        ...

A bench is identified by its buses. Two bench files that name ``can0`` mean the same bench; ``vcan0`` of another kernel or network
namespace is another bus. The kernel releases a lock when its holder ends, however it ends, so a lock is never stale. The file
names the holder: process, user, bench, and since when. A command whose lock is held by the process that started it is refused at
once, because that process waits for the command to end: waiting would deadlock.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from otabench.bench.ancestors import ancestors
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError
from otabench.bench.topology.model import Topology

_POLL_INTERVAL_S: Final = 0.2
_PLACE: Final = "labgrid"
"""The interface of a lab's place."""
_PLACES: Final = (Path("/run/lock"), Path("/var/lock"))


class BenchInUse(BenchError):
    """Another run holds the bench.

    Attributes:
        holder: the content of its lock file: pid, user, since, bench.
    """

    def __init__(self, message: str, *, holder: dict[str, Any]) -> None:
        super().__init__(message)
        self.holder = holder


def place() -> Path:
    """Return where lock files are: a folder that all users of this kernel share."""
    for folder in _PLACES:
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return Path(tempfile.gettempdir())


def name_of(interface: str, channel: str) -> str:
    """Return the name of one bus's lock file."""
    # For people who look into the folder. The digest behind it keeps apart what reads alike, such as a/b and a_b.
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{interface}-{channel}")
    identity = f"{interface}\0{channel}\0{_kernel_identity() if interface == 'socketcan' else ''}"
    return f"otabench-{readable[:60]}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}.lock"


def _kernel_identity() -> str:
    """Return this kernel and network namespace: an interface name has no meaning outside of them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        return ""


@dataclass
class _Held:
    path: Path
    descriptor: int


class BenchLock:
    """The locks of all buses of a bench.

    Args:
        buses: interface and channel of each.
        bench: the bench file's name, shown to those who wait.
        folder: None: ``place()``.
    """

    def __init__(self, buses: Sequence[tuple[str, str]], *, bench: str, folder: Path | None = None) -> None:
        # In one order, so that two runs that need the same buses cannot each hold one and wait for the other.
        self._buses = sorted(set(buses))
        self._bench = bench
        self._folder = folder or place()
        self._held: list[_Held] = []

    def acquire(self, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda _: None) -> None:
        """Take the bench.

        Args:
            wait_s: how long to wait for the holder.
            say: receives one line that names the holder, when the waiting begins.

        Raises:
            BenchInUse: another run still holds it; the message names the holder.
            BenchError: no lock file can be made.
        """
        deadline = Deadline(wait_s)
        try:
            for interface, channel in self._buses:
                self._acquire(interface, channel, deadline=deadline, wait_s=wait_s, say=say)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the bench back. May be called twice."""
        for held in self._held:
            os.ftruncate(held.descriptor, 0)
            os.close(held.descriptor)
        self._held.clear()

    def _acquire(
        self, interface: str, channel: str, *, deadline: Deadline, wait_s: float, say: Callable[[str], None]
    ) -> None:
        path = self._folder / name_of(interface, channel)
        what = f"place {channel}" if interface == _PLACE else f"bus {channel}"
        descriptor = _open(path)
        announced = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    os.close(descriptor)
                    raise BenchError(f"{path}: the bench cannot be locked: {error.strerror}") from error
            holder = _read(path)
            # A test that calls `otabench bench run` for the bench which its own pytest has up.
            if holder.get("pid") in set(ancestors()):
                os.close(descriptor)
                raise BenchInUse(
                    f"{what} is in use by {_describe(holder)}, which started this command: waiting would deadlock; "
                    "use the bench that it has up, or give this command a bench file with another bus",
                    holder=holder,
                )
            if deadline.has_passed():
                os.close(descriptor)
                waited = f" after {wait_s:g} s of waiting" if wait_s else ""
                raise BenchInUse(
                    f"{what} is in use by {_describe(holder)}{waited}; wait for it with --bench-wait SECONDS, "
                    "or end that run",
                    holder=holder,
                )
            if not announced:
                say(f"{what} is in use by {_describe(holder)}: waiting for up to {wait_s:g} s")
                announced = True
            deadline.pause(_POLL_INTERVAL_S)
        # The lock is the flock, which the kernel releases with the process. The file's content only shows others who
        # holds it.
        self._held.append(_Held(path, descriptor))
        content = {
            "pid": os.getpid(),
            "user": _user(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "bench": self._bench,
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(content).encode(), 0)


@contextmanager
def held(buses: Sequence[tuple[str, str]], *, bench: str, wait_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the bench during the block. Arguments and errors are those of ``BenchLock`` and its ``acquire``."""
    lock = BenchLock(buses, bench=bench)
    lock.acquire(wait_s=wait_s, say=say)
    try:
        yield
    finally:
        lock.release()


def buses_of(topology: Topology) -> list[tuple[str, str]]:
    """Return interface and channel of each bus of the bench file on this machine.

    A lab's place counts as a bus: labgrid does not distinguish two runs of one user on one machine.
    """
    buses = [bus.identity for bus in topology.buses.values()]
    return buses if topology.lab is None else [*buses, (_PLACE, topology.lab.place)]


def _open(path: Path) -> int:
    """Open the file, or make it for all users.

    It is opened without O_CREAT first: the kernel refuses O_CREAT on another user's file in a sticky folder
    (fs.protected_regular).
    """
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if os.fstat(descriptor).st_uid == os.getuid():
                os.fchmod(descriptor, 0o666)  # nosec B103 # whatever the umask: other users lock it too
            return descriptor
    except OSError as error:
        raise BenchError(
            f"{path}: the lock file cannot be used: {error.strerror}; remove it, or correct its rights"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is being written
        return {}
    return content if isinstance(content, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} of user {holder.get('user')} (bench {holder.get('bench')}, since {holder.get('since')})"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
