"""Drop root's rights in a bench that was started by `sudo`, and take them back only for setting up CAN.

Nothing else needs root. So `bench run` and `up` call ``drop_to_invoking_user`` first. From then on the command works as the user who called
`sudo`: its files belong to that user, and the processes that it starts cannot become root again, because ``exec`` copies the effective
user to the saved one. The command itself keeps root as its saved user. ``elevated`` uses it for a command of `ip`, `tc` or `modprobe`.

Root that was not reached by `sudo` (a container, a login as root) has no other user to become. In a guest kernel root stands for the user
who started the guest, so nothing is dropped there.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from otabench.bench.errors import BenchError

_GUEST: Final = "OTABENCH_GUEST"
_NO_ID: Final = 0xFFFF_FFFF
"""(uid_t) -1: for setresuid it means "leave unchanged", so it must not be taken for a user."""


@dataclass(frozen=True)
class InvokingUser:
    """Who called `sudo`."""

    uid: int
    gid: int


def invoking_user(environ: Mapping[str, str], *, is_root: bool) -> InvokingUser | None:
    """Return the user whose rights suffice; None: keep those that the process has. Pure.

    Raises:
        BenchError: SUDO_UID or SUDO_GID is not a number.
    """
    if not is_root or _GUEST in environ or "SUDO_UID" not in environ:
        return None
    found = []
    for name in ("SUDO_UID", "SUDO_GID"):
        text = environ.get(name, "")
        if not (text.isascii() and text.isdigit() and int(text) < _NO_ID):
            raise BenchError(f"{name}={text[:40]!r}: expected the number that sudo sets; unset SUDO_UID to stay root")
        found.append(int(text))
    user = InvokingUser(*found)
    return user if user.uid != 0 else None


def drop_to_invoking_user() -> InvokingUser | None:
    """Take the rights of the user who called `sudo`, and return that user. Return None if nobody did.

    Raises:
        BenchError: SUDO_UID or SUDO_GID is not a number.
    """
    user = invoking_user(os.environ, is_root=os.geteuid() == 0)
    if user is None:
        return None
    try:
        entry = pwd.getpwuid(user.uid)
    except KeyError:  # a user of another machine, or of a container's host
        os.setgroups([user.gid])
    else:
        # The groups too: root's would still open what belongs to them.
        os.initgroups(entry.pw_name, user.gid)
        os.environ["HOME"] = entry.pw_dir
    # Groups before users: without root's user id they could not be changed any more.
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, 0)
    return user


def are_dropped() -> bool:
    """Return whether this process took another user's rights, so that its own processes cannot set up CAN."""
    _, effective, saved = os.getresuid()
    return effective != 0 and saved == 0


def give_up_root() -> None:
    """Take the other user's rights for good. For a process that was forked: only ``exec`` does this by itself."""
    if are_dropped():
        user = os.geteuid()
        os.setresuid(user, user, user)


@contextmanager
def elevated() -> Iterator[None]:
    """Have root's rights during the block, if this process dropped them; else change nothing."""
    if not are_dropped():
        yield
        return
    effective = os.geteuid()
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(effective)
