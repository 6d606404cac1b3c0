"""The mark of a run that is up: a file in its folder, ``up.json``, which is locked as long as the bench is up.

    mark = RunMark(folder, keep_keys=False)
    mark.make()
    …
    mark.remove()

Rules:

* ``whereabouts`` and ``is_up`` answer for any process. The kernel releases the lock when the bench's process ends, however it ends.
* A guest kernel's locks are not seen outside of it, although its files are. So the mark names the kernel that it was made under, and
  its file is written to every few seconds: a mark of another kernel that has not been written to for a while is of a run that ended.
* A mark that is there although its run is not up is of a run that was cut off, by SIGKILL or with its machine. What the end of a run
  does was not done then; the next run catches up on it (``launcher.run_end``).
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from otabench.bench.errors import BenchError

NAME: Final = "up.json"
_GUEST: Final = "OTABENCH_GUEST"
"""Set by ``setup/with-can`` in a guest kernel: the guest's id."""
_BEAT_S: Final = 10.0
_DEAD_AFTER_S: Final = 120.0
"""A mark of another kernel that was not written to for so long is of a run that ended."""


class Whereabouts(StrEnum):
    """Where the bench of a run is."""

    HERE = "here"
    """Up on this kernel: its processes can be reached."""
    ELSEWHERE = "elsewhere"
    """Up on another kernel, a guest's or the one around it: its files can be read, nothing more."""
    ENDED = "ended"


class RunMark:
    """The mark of one run, held by the process that keeps the bench up.

    Args:
        folder: the run's folder.
        keep_keys: whether the run's keys stay when it ends; read by whoever catches up on a run that was cut off.
    """

    def __init__(self, folder: Path, *, keep_keys: bool) -> None:
        self._path = folder / NAME
        guest = os.environ.get(_GUEST)
        content = {"pid": os.getpid(), "kernel": this_kernel(), "guest": guest, "keep_keys": keep_keys}
        self._content = json.dumps(content).encode()
        self._descriptor: int | None = None
        self._removed = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="run-mark", daemon=True)

    def make(self) -> None:
        """Make the mark and lock it.

        Raises:
            BenchError: it cannot be made.
        """
        # It gets its name once it is locked: a mark that is not locked is of a run that was cut off.
        fresh = self._path.with_suffix(f".{os.getpid()}")
        try:
            self._descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            os.write(self._descriptor, self._content)
            fresh.rename(self._path)
        except OSError as error:
            raise BenchError(
                f"{self._path}: cannot be made: {error.strerror}; choose another place by --runs-dir"
            ) from error
        self._beating.start()

    def remove(self) -> None:
        """Remove the mark. May be called twice, and without ``make``."""
        self._removed.set()
        if self._beating.is_alive():
            self._beating.join()  # else it might write to whatever file gets the descriptor's number next
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _beat(self) -> None:
        while not self._removed.wait(_BEAT_S):
            assert self._descriptor is not None
            # On a full disk others may take a run in a guest for ended; this kernel's lock still holds.
            with suppress(OSError):
                os.pwrite(self._descriptor, self._content, 0)


def this_kernel() -> str:
    """Return what distinguishes this kernel, since it was started, from any other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def whereabouts(folder: Path) -> Whereabouts:
    """Return whether the bench of a run's folder is up, and on which kernel.

    Raises:
        BenchError: the mark cannot be read.
    """
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Whereabouts.ENDED
    except OSError as error:
        raise BenchError(f"{folder / NAME}: cannot be read: {error.strerror}; correct its rights") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # locked; or the file system has no locks, so the state is unknown
        return Whereabouts.HERE
    finally:
        written_s = os.fstat(descriptor).st_mtime
        os.close(descriptor)
    is_of_another_kernel = _read(folder).get("kernel", "") != this_kernel()
    if is_of_another_kernel and time.time() - written_s < _DEAD_AFTER_S:
        return Whereabouts.ELSEWHERE
    return Whereabouts.ENDED


def is_up(folder: Path) -> bool:
    """Return whether the bench of a run's folder is up, on any kernel.

    Raises:
        BenchError: the mark cannot be read.
    """
    return whereabouts(folder) is not Whereabouts.ENDED


def was_cut_off(folder: Path) -> bool:
    """Return whether a run ended without its bench's doing."""
    return (folder / NAME).is_file() and not is_up(folder)


def guest_of(folder: Path) -> str | None:
    """Return the id of the guest kernel in which the bench of a run was started; None: in none, or that is not known."""
    guest = _read(folder).get("guest")
    return guest if isinstance(guest, str) else None


def keeps_keys(folder: Path) -> bool:
    """Return whether the run whose mark is there was to keep its keys."""
    return bool(_read(folder).get("keep_keys"))


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # its process died while it wrote the mark
        return {}
    return content if isinstance(content, dict) else {}
