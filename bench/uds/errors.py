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
    ├── DependenciesNotMet FF01 reports that what the image depends on is missing
    └── SeveralFailed     more than one ECU failed in one act

Callers pass fields and never compose a sentence; the errors compose their text from the fields.
``FlashCanceled`` is not a ``FlashError``: nothing failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from otabench.bench.uds import answers


class FlashError(Exception):
    """An ECU did not do what the update needs of it.

    The text is "ECU: step: NRC xx name: problem: remedy (note)", without the parts that are empty.

    Attributes:
        problem: what happened; may be empty where ``nrc`` is given.
        ecu: the ECU's name; empty where the error concerns the bus or a profile.
        step: what was tried, e.g. "31 01 FF00 erase memory".
        nrc: the negative response code, if the ECU sent one.
        remedy: what to do; without one, that of the negative response code.
        note: what the caller adds, e.g. how many attempts were made.
        retryable: whether the same call may succeed later (silence, power cut). A refusal stays a refusal.
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
        """Return an error of this class with another error's fields, e.g. ``PatchRefused.of(refused)``.

        Args:
            error: where the fields come from.
            note: added to the other error's note.
        """
        notes = "; ".join(part for part in (error.note, note) if part)
        return cls(error.problem, ecu=error.ecu, step=error.step, nrc=error.nrc, remedy=error.remedy, note=notes)

    def _text(self) -> str:
        label = "" if self.nrc is None else answers.nrc_label(self.nrc)
        text = ": ".join(part for part in (self.ecu, self.step, label, self.problem, self.remedy) if part)
        return f"{text} ({self.note})" if self.note else text


class EcuRefused(FlashError):
    """A negative response that repeating does not change, or a routine that answered with a status other than 0."""


class PatchRefused(EcuRefused):
    """The ECU does not accept this patch."""


class EcuLost(FlashError):
    """The ECU is silent, or has lost session, security or transfer."""

    retryable = True


class EcuContradicts(FlashError):
    """A response that does not fit its request, or a slot table with a state that it should not have."""


class RolledBack(FlashError):
    """The ECU's bootloader gave the new image up; the ECU runs the old one."""


class TrialUnsteady(FlashError):
    """The new image does not run steadily, and must not be confirmed."""


class BusUnavailable(FlashError):
    """The bus cannot be opened, or went away."""

    retryable = True


class ProfileInvalid(FlashError):
    """A flash profile that does not exist, or whose contents are wrong."""


class DependenciesNotMet(FlashError):
    """An ECU that is not activated yet reports that what its image depends on is missing."""


class SeveralFailed(FlashError):
    """Several ECUs failed in one act. Fields of the first; ``errors`` holds all, and the text names all."""

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
