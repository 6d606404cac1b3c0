"""Run directories: where a guest lives on the host, which guests of this user run, and which of them a command is to join.

Here are `run_roots` (the places), `make_run_dir`, `running_guests`, `choose`. What is in a run directory is started by
`machine.py`.

Rules:

* A run directory belongs to one guest, mode 0700. A lock held by the guard says that the guest lives; a directory
  without that lock is swept away.
* A guest belongs to the folder in which with-can was started. A command joins the guest of its own folder or of the
  nearest folder above it. It never joins another one unless it is named: that would be somebody else's bus.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SOCKET_PATH_LIMIT = 100  # sun_path holds 107 characters
STALE_AFTER_S = 30.0
ABOUT = "about.json"
ID = re.compile(r"[0-9]+-[0-9a-f]{4}")
SHOWN_COMMAND_CHARACTERS = 70


class GuestError(Exception):
    """The guest cannot do what was asked; the text is for the user."""


@dataclass(frozen=True)
class Guest:
    """A guest that is up.

    Attributes:
        run_dir: its run directory; the name is the guest's id.
        folder: the folder in which with-can was started.
        command: what it was started with.
        since: when it was up, in seconds since 1970.
    """

    run_dir: Path
    folder: Path
    command: tuple[str, ...]
    since: float

    @property
    def id(self) -> str:
        return self.run_dir.name

    def line(self) -> str:
        """Return the guest as one line for the user: id, since when, folder, command."""
        command = shlex.join(self.command)
        if len(command) > SHOWN_COMMAND_CHARACTERS:
            command = command[: SHOWN_COMMAND_CHARACTERS - 1] + "…"
        since = datetime.fromtimestamp(self.since).astimezone().isoformat(sep=" ", timespec="seconds")
        line = f"{self.id}  since {since}  in {self.folder}  {command}"
        return "".join(character if character.isprintable() else "?" for character in line)


def run_roots() -> list[Path]:
    """Return directories that may hold run directories, best first: short, private, writable."""
    roots = []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        roots.append(Path(runtime) / "otabench/guests")
    cache = os.environ.get("XDG_CACHE_HOME")
    roots.append((Path(cache) if cache else Path("~/.cache").expanduser()) / "otabench/guests")
    roots.append(Path(f"/tmp/otabench-{os.getuid()}/guests"))
    return roots


def is_private(path: Path) -> bool:
    """Return whether only this user can have put something there."""
    info = path.stat()
    return info.st_uid == os.getuid() and not info.st_mode & 0o022


def make_run_dir() -> Path:
    """Make a new run directory, and return it.

    Raises:
        GuestError: none of the places can be used.
    """
    reasons = []
    for root in run_roots():
        if len(str(root)) + 20 > SOCKET_PATH_LIMIT or any(c.isspace() or c == "," for c in str(root)):
            reasons.append(f"{root}: too long, or holds spaces")
            continue
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(root):
                reasons.append(f"{root}: belongs to, or can be written by, somebody else")
                continue
            sweep(root)
            run_dir = root / f"{os.getpid()}-{secrets.token_hex(2)}"
            run_dir.mkdir(mode=0o700)
        except OSError as error:
            reasons.append(f"{root}: {error.strerror}")
            continue
        return run_dir
    raise GuestError(
        "no place for the guest's run directory; set XDG_RUNTIME_DIR or XDG_CACHE_HOME to a directory "
        "you can write to. Tried " + "; ".join(reasons)
    )


def is_alive(run_dir: Path) -> bool:
    """Return whether the guard of this guest still holds its lock."""
    try:
        with (run_dir / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sweep(root: Path) -> None:
    """Remove run directories whose guard was killed. Young ones may still be on their way up."""
    for run_dir in root.iterdir():
        try:
            if time.time() - run_dir.stat().st_mtime > STALE_AFTER_S and not is_alive(run_dir):
                remove_remains(run_dir)
        except OSError:
            continue  # somebody else was quicker


def remove_remains(run_dir: Path) -> None:
    """End what is left of a guest whose guard was killed, and remove its directory.

    The kernel ends only the guard's own children; a helper process of User Mode Linux outlives them.
    """
    marker = f"OTABENCH_RUN={run_dir}\0".encode()
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and marker in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # ended meanwhile
    shutil.rmtree(run_dir, ignore_errors=True)


def describe(run_dir: Path, *, folder: str, command: Sequence[str]) -> None:
    """Write down the facts about this guest, for those who join it."""
    about = {"folder": folder, "command": list(command), "since": time.time()}
    (run_dir / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def read_guest(run_dir: Path) -> Guest | None:
    """Return what is known of a guest; None if it is not up, or on its way down."""
    try:
        about = json.loads((run_dir / ABOUT).read_text(encoding="utf-8"))
        if not (run_dir / "port").exists() or not is_alive(run_dir):
            return None
        return Guest(run_dir, Path(about["folder"]), tuple(about["command"]), float(about["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running_guests() -> list[Guest]:
    """Return this user's guests that are up, newest first."""
    found = []
    for root in run_roots():
        try:
            candidates = list(root.iterdir()) if is_private(root) else []
        except OSError:
            continue
        found += [guest for guest in map(read_guest, candidates) if guest is not None]
    return sorted(found, key=lambda guest: guest.since, reverse=True)


def choose(guests: Sequence[Guest], wanted: str, folder: Path) -> Guest:
    """Return the guest to join.

    Args:
        guests: those that are up.
        wanted: the id of one; empty: the one of `folder`, or of the nearest folder above it.
        folder: where the command is run.

    Raises:
        GuestError: there is none, or more than one; the text lists those that are up.
    """
    if not guests:
        raise GuestError("no guest of this user is running: start one first (with-can CMD, or make up)")
    listed = "\n".join(f"  {guest.line()}" for guest in guests)
    if wanted:
        for guest in guests:
            if guest.id == wanted:
                return guest
        raise GuestError(f"no guest {wanted} is running; these are:\n{listed}")
    for place in (folder, *folder.parents):
        here = [guest for guest in guests if guest.folder == place]
        if len(here) == 1:
            return here[0]
        if here:
            listed = "\n".join(f"  {guest.line()}" for guest in here)
            raise GuestError(f"{len(here)} guests run in {place}: name the one to join, --join=ID:\n{listed}")
    raise GuestError(
        f"no guest was started in {folder} or above it. Join one of these with --join=ID, or start one here "
        f"(with-can CMD, or make up):\n{listed}"
    )
