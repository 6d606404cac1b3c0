"""Errors of the bench: each is one line for the user, and an exit status of the command line.

    BenchError                 the bench itself could not run (1)
    ├── WrongUsage             a wrong argument or combination (2)
    │   ├── UnknownName        a name that does not exist, with the nearest one that does (2)
    │   └── BenchFileError     the bench file (2)
    ├── FirmwareError          an image could not be built, packed or read
    ├── ProcessFailed          a process of the bench did not come up, or died; carries its name and log
    ├── EndpointError          a process runs and does not answer as it should
    ├── NoRunningBench         a command needs a running bench and there is none
    ├── WaitTimeout            an awaited event did not happen in time
    ├── PowerError             an ECU's supply could not be switched; carries the ECU
    ├── BoardError             a real board is silent, or is not the expected one; carries the ECU
    └── AdapterError           a CAN interface does not exist or could not be set up

Every message contains the problem, its place and the remedy.
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
        self.what, self.name, self.known, self.where = what, name, tuple(known), where
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


class NoRunningBench(BenchError):
    """A command needs a running bench, and there is none."""


class WaitTimeout(BenchError):
    """An awaited event did not happen in time."""


class PowerError(BenchError):
    """An ECU's supply could not be switched."""

    def __init__(self, message: str, *, ecu: str) -> None:
        super().__init__(message)
        self.ecu = ecu


class BoardError(BenchError):
    """A real board does not answer, or is not the board of the bench file."""

    def __init__(self, message: str, *, ecu: str) -> None:
        super().__init__(message)
        self.ecu = ecu


class AdapterError(BenchError):
    """A CAN interface does not exist, or could not be set up."""
