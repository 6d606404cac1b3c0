"""Errors of the bench: what a user reads as one line, and the exit status behind it.

    BenchError                 the bench itself could not run (1)
    ├── WrongUsage             a wrong argument or combination (2)
    │   ├── UnknownName        a name that nothing has, with what it may have meant (2)
    │   └── BenchFileError     the bench file (2)
    ├── FirmwareError          an image could not be built, packed or read
    ├── ProcessFailed          a process of the bench did not come up, or died; carries its name and log
    ├── EndpointError          a process is there and does not answer as it should
    ├── NoRunningBench         a command needs a running bench and there is none
    ├── WaitTimeout            something awaited did not happen in time
    ├── PowerError             an ECU's supply could not be switched; carries the ECU
    ├── BoardError             a real board is silent, or is another one; carries the ECU
    └── AdapterError           a CAN interface could not be set up or is not there

Every message says what, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from otabench.bench.finding import Finding


class BenchError(Exception):
    """The bench could not do what it was asked to. ``exit_status`` is the command line's."""

    exit_status: ClassVar[int] = 1


class WrongUsage(BenchError):
    """An argument, or a combination of arguments, that means nothing."""

    exit_status: ClassVar[int] = 2


class UnknownName(WrongUsage):
    """A name of an ECU, a bus, a fault, … that does not exist.

    Attributes:
        what: the kind of thing, e.g. "ECU".
        name: as it was given.
        known: the names that exist.
        where: where it was looked for, e.g. "in the bench file"; or "".
    """

    def __init__(self, what: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        self.what, self.name, self.known, self.where = what, name, tuple(known), where
        near = difflib.get_close_matches(name, self.known, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
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
    """A process of the bench answers not at all, or with a refusal."""


class NoRunningBench(BenchError):
    """No running bench was found where one is needed."""


class WaitTimeout(BenchError):
    """What was waited for did not happen in time."""


class PowerError(BenchError):
    """An ECU's supply could not be switched."""

    def __init__(self, message: str, *, ecu: str) -> None:
        super().__init__(message)
        self.ecu = ecu


class BoardError(BenchError):
    """A real board does not answer, or is not the one the bench file says."""

    def __init__(self, message: str, *, ecu: str) -> None:
        super().__init__(message)
        self.ecu = ecu


class AdapterError(BenchError):
    """A CAN interface is not there, or could not be set up."""
