"""A place of a lab that labgrid shares: taken while a bench runs, given back however it ends, and its ECUs' power.

    place = Place(lab)
    place.acquire(wait_s=60, say=print)
    …
    place.release()

Rules:

* labgrid's own client, ``labgrid-client``, is called, as its documentation describes it. labgrid is not imported: its package replaces
  pyserial by a fork, and loads a plugin into every pytest run. So it may be installed in an environment of its own.
* A place stays acquired until it is released; the coordinator does not notice that a program has died. So a guard takes and releases it: a
  small process in a session of its own, which waits for the end of this one. Nothing that ends this process keeps the guard from that.
* If this user holds the place on this machine already, the bench uses it and does not release it.
* labgrid accepts a part of a name. If it takes a place with another name, that place is given back at once, and it is an error.

The words of ``labgrid-client`` are read in ``outcome``, ``reason`` and ``finding`` only; the tests have what version 26.0.1 printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.errors import LabError, PlaceInUse
from otabench.bench.finding import Finding, fail, ok
from otabench.bench.topology.entries import LabEntry

PROGRAM: Final = "labgrid-client"
INSTALL: Final = "pip install labgrid, in any environment whose programs are on PATH"
_CALL_TIMEOUT_S: Final = 30.0
_POLL_INTERVAL_S: Final = 2.0
_GUARD_INTERVAL_S: Final = 0.05
_TAKEN: Final = "otabench: taken\n"
_GUARD: Final = f'"$@" acquire || exit; echo "{_TAKEN.strip()}"; cat >/dev/null; exec "$@" release'
"""``cat`` ends once nobody holds the other end of the standard input."""
_ACQUIRED: Final = re.compile(r"^acquired place (\S+)$", re.MULTILINE)
_HELD: Final = re.compile(r"Place (\S+) is already acquired by (\S+)\. ")
_HELD_BY_USER: Final = re.compile(r"You have already acquired place (\S+?)(?: on (\S+))?\.(?: |$)", re.MULTILINE)
_SHOWN_NAME: Final = re.compile(r"^Place '([^']*)':$", re.MULTILINE)
_SHOWN_HOLDER: Final = re.compile(r"^\s+acquired: (\S+)$", re.MULTILINE)
_OWN_WORDS: Final = re.compile(r"^(?:labgrid-client|Server error|error): (?:[Ee]rror: )*(.+)$", re.MULTILINE)


class Outcome(StrEnum):
    """The result of an attempt to acquire a place."""

    TAKEN = "taken"
    OURS = "ours"
    """It was this user's on this machine already."""
    HELD = "held"
    OTHER_NAME = "other name"
    FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """An outcome with its detail: who holds the place, the other place's name, or why the attempt failed."""

    outcome: Outcome
    detail: str = ""


def outcome(place: str, status: int, said: str) -> Answer:
    """Return the result of an attempt to acquire a place. Pure.

    Args:
        place: its name.
        status: the client's exit status.
        said: its output, both streams.
    """
    taken, held, ours = _ACQUIRED.search(said), _HELD.search(said), _HELD_BY_USER.search(said)
    # First the name: labgrid also acquires a place of which the given name is only a part.
    for found in (taken, held, ours):
        if found is not None and found[1] != place:
            return Answer(Outcome.OTHER_NAME, found[1])
    if status == 0 and taken is not None:
        return Answer(Outcome.TAKEN)
    if held is not None:
        return Answer(Outcome.HELD, held[2])
    if ours is not None:
        return Answer(Outcome.HELD, f"you on {ours[2]}") if ours[2] else Answer(Outcome.OURS)
    return Answer(Outcome.FAILED, reason(said))


def reason(said: str) -> str:
    """Return why the client failed: its own sentence, else the last line, which ends a traceback."""
    own = _OWN_WORDS.search(said)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return own[1].strip() if own is not None else lines[-1] if lines else "it printed nothing"


@dataclass(frozen=True)
class LabgridClient:
    """labgrid's client, for one place."""

    lab: LabEntry

    def command(self, *arguments: str) -> list[str]:
        """Return a command of the client for the place.

        Raises:
            LabError: the client is not installed.
        """
        program = find_client()
        if program is None:
            raise LabError(self.lab.place, f"there is no program {PROGRAM}", remedy=INSTALL)
        coordinator = ["-x", self.lab.coordinator] if self.lab.coordinator else []
        return [program, *coordinator, "-p", self.lab.place, *arguments]

    def call(self, *arguments: str, timeout_s: float = _CALL_TIMEOUT_S) -> tuple[int, str]:
        """Run a command of the client to its end. Return its exit status, and its output, both streams.

        Ctrl-C does not reach it: whether it has acquired or switched something must be known.

        Raises:
            LabError: it cannot be run, or does not end in time and was killed.
        """
        command = self.command(*arguments)
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        ) as process:
            try:
                said, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise LabError(
                    self.lab.place,
                    f"`{' '.join(arguments)}` of {PROGRAM} did not end within {timeout_s:g} s",
                    remedy="is the coordinator reachable?",
                ) from error
        return process.returncode, said


def find_client() -> str | None:
    """Return the path of labgrid's client: beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name(PROGRAM)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)


class Place:
    """The place of one bench.

    Args:
        lab: the bench file's entry.
    """

    def __init__(self, lab: LabEntry) -> None:
        self._lab = lab
        self._client = LabgridClient(lab)
        self._guard: _Guard | None = None

    def acquire(self, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda _: None) -> None:
        """Take the place.

        Args:
            wait_s: how long to wait for whoever holds it.
            say: receives a line when the waiting begins, and one once the place is there.

        Raises:
            PlaceInUse: somebody else still holds it; the message names the holder.
            LabError: it cannot be taken.
        """
        name, deadline, announced = self._lab.place, Deadline(wait_s), False
        while True:
            answer = self._attempt()
            if answer.outcome is Outcome.TAKEN:
                say(f"place {name}: taken for this run")
                return
            if answer.outcome is Outcome.OURS:
                say(f"place {name}: you held it before, and keep it afterwards")
                return
            if answer.outcome is Outcome.OTHER_NAME:
                raise LabError(name, "the lab has no such place", remedy=f"did you mean {answer.detail!r}?")
            if answer.outcome is Outcome.FAILED:
                raise LabError(name, answer.detail, remedy=f"`{PROGRAM} -p {name} show` has more")
            if deadline.has_passed():
                raise PlaceInUse(name, answer.detail, waited_s=wait_s)
            if not announced:
                say(f"place {name} is in use by {answer.detail}: waiting for up to {wait_s:g} s")
                announced = True
            deadline.pause(_POLL_INTERVAL_S)

    def release(self) -> None:
        """Give the place back, if this bench took it. May be called twice.

        Raises:
            LabError: it was not given back.
        """
        if self._guard is not None:
            # Forgotten first: a release that fails is not tried again by the second call.
            guard, self._guard = self._guard, None
            guard.release()

    def _attempt(self) -> Answer:
        """Try once. Keep the guard only if it has taken the place."""
        self._guard = guard = _Guard(self._client)
        try:
            answer = outcome(self._lab.place, *guard.wait_until_taken())
        except BaseException:
            self.release()  # it may be taken by now
            raise
        if answer.outcome is Outcome.OTHER_NAME:
            self.release()
        elif answer.outcome is not Outcome.TAKEN:
            self._guard = None
        return answer


class _Guard:
    """A process that takes a place, waits until this process closes its standard input or ends, and releases the place."""

    def __init__(self, client: LabgridClient) -> None:
        self._place = client.lab.place
        # A file, not a pipe: nobody reads while the bench runs, and a full pipe would stop the guard.
        self._words = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # lives as long
        self._process = subprocess.Popen(
            ["sh", "-c", _GUARD, "otabench-place", *client.command()],
            stdin=subprocess.PIPE,
            stdout=self._words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_taken(self) -> tuple[int, str]:
        """Wait until the place is taken, or cannot be. Return the client's exit status, and its output.

        Raises:
            LabError: the client does not end in time.
        """
        deadline = Deadline(_CALL_TIMEOUT_S)
        while not deadline.has_passed():
            status = self._process.poll()
            said = self._said()
            if status is not None or _TAKEN in said:
                return status or 0, said.replace(_TAKEN, "")
            deadline.pause(_GUARD_INTERVAL_S)
        raise LabError(
            self._place,
            f"{PROGRAM} did not acquire it within {_CALL_TIMEOUT_S:g} s",
            remedy="is the coordinator there?",
        )

    def release(self) -> None:
        """Release the place if it was taken, and wait for that.

        Raises:
            LabError: it was not released.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(_CALL_TIMEOUT_S)
            why = reason(self._said().partition(_TAKEN)[2])
        except subprocess.TimeoutExpired:
            status, why = -1, f"{PROGRAM} still tries to"
        if status != 0 and _TAKEN in self._said():
            raise LabError(
                self._place,
                f"it was not released: {why}",
                remedy=f"`{PROGRAM} -p {self._place} release` tries it again",
            )

    def _said(self) -> str:
        self._words.seek(0)
        return self._words.read()


def finding(lab: LabEntry) -> Finding:
    """Return whether the place is there, and who holds it, for `otabench bench check`. Changes nothing."""
    where = f"place {lab.place}"
    try:
        status, said = LabgridClient(lab).call("show")
    except LabError as error:
        return fail(where, error.problem, error.remedy)
    if status != 0:
        return fail(where, reason(said), f"correct lab.place, or create it by `{PROGRAM}`")
    name, holder = _SHOWN_NAME.search(said), _SHOWN_HOLDER.search(said)
    if name is None or name[1] != lab.place:
        return fail(where, "the lab has no such place", f"did you mean {name[1]!r}?" if name else "correct lab.place")
    free = holder is None or holder[1] == "None"
    return ok(where, "is free" if free or holder is None else f"is in use by {holder[1]}")
