"""Errors of the bench: each is one line for the user, and an exit status of the command line.

    BenchError                 the bench itself could not run (1)
    ├── WrongUsage             a wrong argument or combination (2)
    │   ├── UnknownName        a name that does not exist, with the nearest one that does (2)
    │   └── BenchFileError     the bench file (2)
    ├── FirmwareError          an image could not be built, packed or read
    ├── KeysError              a key folder cannot be used, or a new Root cannot be signed
    ├── ProcessFailed          a process of the bench did not come up, or died; carries its name and log
    ├── EndpointError          a process runs and does not answer as it should
    │   └── ValueRefused       it refuses a value that was given (2)
    ├── NoRunningBench         a command needs a running bench and there is none
    ├── WaitTimeout            an awaited event did not happen in time
    ├── LabError               a lab's place could not be taken or given back; carries the place
    │   └── PlaceInUse         somebody else holds it; carries the holder
    ├── PowerError             an ECU's supply could not be switched; carries the ECU
    ├── BoardError             about a real board; carries the ECU
    │   ├── BoardSilent        it does not answer
    │   ├── BoardUnfit         it answers, and not as its flash profile requires
    │   └── WrongBoard         it is not the one of the bench file; carries key and both values
    └── AdapterError           a CAN interface does not exist or could not be set up

Every message contains the problem, its place and the remedy. The exit status is 2 if a value is wrong that was typed or that the bench
file has, whoever found it: this program, an ECU or the cloud. It is 1 for everything else, such as a file that cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from otabench.bench.finding import Finding, nearest


class BenchError(Exception):
    """The bench could not do what was requested. ``exit_status`` is that of the command line."""

    exit_status: ClassVar[int] = 1


class WrongUsage(BenchError):
    """An invalid argument, or an invalid combination of arguments."""

    exit_status: ClassVar[int] = 2


class UnknownName(WrongUsage):
    """A name of an ECU, a bus, a fault, … that does not exist.

    Attributes:
        what: the kind of thing, e.g. "ECU".
        name: as it was given.
        known: the names that exist.
        where: the place of the search, e.g. "in the bench file"; may be empty.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.what, self.name, self.where = what, name, where
        self.known = tuple(map(str, known))  # members of a StrEnum too, as plain names
        near = nearest(name, self.known)
        meant = f"did you mean {near!r}? " if near else ""
        place = f" {where}" if where else ""
        super().__init__(f"there is no {what} {name!r}{place}; {meant}known: {', '.join(self.known) or 'none'}")


class BenchFileError(WrongUsage):
    """The bench file is wrong. The text has one line for each finding.

    Attributes:
        findings: all mistakes of the file; ``where`` is file and key.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(f"{finding.where}: {finding.sentence()}" for finding in findings))
        self.findings = tuple(findings)


class KeysError(BenchError):
    """A key folder cannot be used, or its Root keys do not suffice for a new Root."""


class FirmwareError(BenchError):
    """An image could not be built, packed or read."""


class ProcessFailed(BenchError):
    """A process of the bench did not come up or died.

    Attributes:
        process: its name in the run's folder.
        log: its log file.
    """

    def __init__(self, message: str, *, process: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.process = process
        self.log = log


class EndpointError(BenchError):
    """A process of the bench does not answer, or refuses."""


class ValueRefused(EndpointError):
    """A process of the bench refuses a value that the user gave: a parameter of a fault, the id of a campaign."""

    exit_status: ClassVar[int] = 2


class NoRunningBench(BenchError):
    """A command needs a running bench, and there is none."""


class WaitTimeout(BenchError):
    """An awaited event did not happen in time."""


class LabError(BenchError):
    """A place of a lab could not be taken, looked at or given back.

    Attributes:
        place: its name.
        problem, remedy: what happened, and what to do.
    """

    def __init__(self, place: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"place {place}: {problem}; {remedy}")
        self.place, self.problem, self.remedy = place, problem, remedy


class PlaceInUse(LabError):
    """Somebody else holds a lab's place.

    Attributes:
        holder: as labgrid names it, HOST/USER.
    """

    def __init__(self, place: str, holder: str, *, waited_s: float = 0.0) -> None:
        waited = f" after {waited_s:g} s of waiting" if waited_s else ""
        super().__init__(
            place,
            f"in use by {holder}{waited}",
            remedy="wait for it with --bench-wait SECONDS, or ask them to release it",
        )
        self.holder = holder


class PowerError(BenchError):
    """An ECU's supply could not be switched.

    Attributes:
        ecu: its name.
        problem, remedy: what happened, and what to do.
    """

    def __init__(self, ecu: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"power of {ecu}: {problem}; {remedy}")
        self.ecu, self.problem, self.remedy = ecu, problem, remedy


class BoardError(BenchError):
    """A real board does not answer, or is not the board of the bench file.

    Attributes:
        ecu: its name.
    """

    def __init__(self, message: str, *, ecu: str) -> None:
        super().__init__(message)
        self.ecu = ecu


class BoardSilent(BoardError):
    """A real board does not answer.

    Attributes:
        reason: what the last attempt ended with.
    """

    def __init__(self, ecu: str, reason: str) -> None:
        self.reason = reason.removeprefix(f"{ecu}: ")
        super().__init__(
            f"board {ecu}: {self.reason}; power, wiring, termination, bit rate, and "
            f"ecus.{ecu}.request_id/response_id? `otabench bench check` asks again",
            ecu=ecu,
        )


class BoardUnfit(BoardError):
    """A real board answers, and not as its flash profile requires.

    Attributes:
        reason: its answer to the request that an update needs.
    """

    def __init__(self, ecu: str, reason: str, *, remedy: str) -> None:
        self.reason = reason.removeprefix(f"{ecu}: ")
        super().__init__(f"board {ecu} answers, but {self.reason}; {remedy}", ecu=ecu)


class WrongBoard(BoardError):
    """A real board answers, and is not the board of the bench file.

    Attributes:
        key: of the bench file, such as ``serial``.
        read, expected: the board's value, and the bench file's.
    """

    def __init__(self, ecu: str, key: str, *, read: str, expected: str) -> None:
        self.key, self.read, self.expected = key, read, expected
        super().__init__(
            f"board {ecu} reports {key} {read!r}, the bench file has {expected!r}; "
            f"correct ecus.{ecu}.{key}, or connect the right board",
            ecu=ecu,
        )


class AdapterError(BenchError):
    """A CAN interface does not exist, or could not be set up."""
