"""Why an ECU could not be programmed.

    FlashError
    ├── EcuRefused        the ECU refused: a negative response, or a status of a routine
    │   └── PatchRefused  the same for a patch: the full image may still be accepted
    ├── EcuLost           silence, a broken message, or a lost session: the same call may succeed later
    ├── EcuContradicts    the response does not fit the request or the contract
    ├── RolledBack        the ECU went back to its old version
    ├── TrialUnsteady     a trial image was reset, or went silent, during the soak
    ├── BusUnavailable    the bus itself: the same call may succeed later
    ├── ProfileInvalid    the flash profile is missing or wrong
    │   └── ProfileMistakes its file has mistakes; all of them
    ├── DependenciesNotMet FF01 reports that a version that the image depends on is missing
    └── SeveralFailed     more than one ECU failed at the same time

Callers pass fields; the errors compose their text from them. ``FlashCanceled`` is not a ``FlashError``, because nothing failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from otabench.bench.finding import Finding
from otabench.bench.uds import answers


class FlashError(Exception):
    """An ECU did not do what the update requires.

    The text is "ECU: step: NRC xx name: problem: remedy (note)". Empty parts are left out::

        engine: 31 01 FF00 erase memory: NRC 22 conditionsNotCorrect: check standstill, … (attempt 2 of 3)

    Attributes:
        problem: what happened; may be empty where ``nrc`` is given.
        ecu: the ECU's name; empty where the error concerns the bus or a profile.
        step: the attempted step, e.g. "31 01 FF00 erase memory".
        nrc: the negative response code, if the ECU sent one.
        remedy: what to do; by default, the remedy for the negative response code.
        note: a caller's addition, e.g. the number of attempts.
        retryable: whether the same call may succeed later (after silence or a power cut). A refused request is not retryable.
    """

    retryable: bool = False

    def __init__(
        self, problem: str = "", *, ecu: str, step: str, nrc: int | None = None, remedy: str = "", note: str = ""
    ) -> None:
        self.problem = " ".join(problem.split()).rstrip(".")
        self.ecu = ecu
        self.step = step
        self.nrc = nrc
        self.remedy = remedy or ("" if nrc is None else answers.nrc_remedy(nrc))
        self.note = note
        super().__init__(self._text())

    @classmethod
    def of(cls, error: FlashError, *, note: str = "") -> Self:
        """Return an error of this class with the fields of another error, e.g. ``PatchRefused.of(refusal)``.

        Args:
            error: where the fields come from.
            note: appended to the note of ``error``.
        """
        notes = "; ".join(part for part in (error.note, note) if part)
        return cls(error.problem, ecu=error.ecu, step=error.step, nrc=error.nrc, remedy=error.remedy, note=notes)

    def _text(self) -> str:
        label = "" if self.nrc is None else answers.nrc_label(self.nrc)
        text = ": ".join(part for part in (self.ecu, self.step, label, self.problem, self.remedy) if part)
        return f"{text} ({self.note})" if self.note else text


class EcuRefused(FlashError):
    """A negative response that a repetition would not change, or a routine that answered with a status other than 0."""


class PatchRefused(EcuRefused):
    """The ECU does not accept this patch."""


class EcuLost(FlashError):
    """The ECU is silent, or has lost session, security or transfer."""

    retryable = True


class EcuContradicts(FlashError):
    """A response that does not fit its request, or a slot table with a state that cannot be right at this point."""


class RolledBack(FlashError):
    """The ECU's bootloader gave up the new image. The ECU runs the old one again."""


class TrialUnsteady(FlashError):
    """The new image does not run steadily, and must not be confirmed."""


class BusUnavailable(FlashError):
    """The bus cannot be opened, or went away."""

    retryable = True


class ProfileInvalid(FlashError):
    """A flash profile that does not exist, or whose contents are wrong."""


class ProfileMistakes(ProfileInvalid):
    """The file of a flash profile has mistakes.

    The text names the first, and how many more there are.

    Attributes:
        name: the name or path of the profile.
        findings: all mistakes, each with its line.
    """

    def __init__(self, name: str, findings: Sequence[Finding]) -> None:
        self.name, self.findings = name, tuple(findings)
        first, *more = findings
        problem = ": ".join(part for part in (first.where, first.problem) if part)
        note = f"and {len(more)} more: `otabench profile check {name}`" if more else ""
        super().__init__(problem, ecu="", step=f"flash profile {name}", remedy=first.remedy, note=note)

    def as_lines(self) -> list[str]:
        """Return one line for each mistake, as a command prints them."""
        return [f"{self.name}{', ' if each.where else ''}{each.where}: {each.sentence()}" for each in self.findings]


class DependenciesNotMet(FlashError):
    """An ECU reports, before it is activated, that a version that its image depends on is missing."""


class SeveralFailed(FlashError):
    """Several ECUs failed at the same time.

    The fields are those of the first error. ``errors`` holds all of them, and the text names all of them.
    """

    def __init__(self, errors: Sequence[FlashError]) -> None:
        first = errors[0]
        self.errors = tuple(errors)
        self.retryable = all(error.retryable for error in errors)
        super().__init__(
            first.problem, ecu=first.ecu, step=first.step, nrc=first.nrc, remedy=first.remedy, note=first.note
        )

    def _text(self) -> str:
        return "; ".join(str(error) for error in self.errors)


class FlashCanceled(Exception):
    """The ``cancel`` event was set. Inactive slots may be half written; active slots are untouched."""
