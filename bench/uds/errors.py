"""Why an ECU could not be programmed.

    FlashError
    ├── EcuRefused        the ECU answered, and refused: a negative response, or a routine's status
    │   └── PatchRefused  the same for a patch: the full image may still be taken
    ├── EcuLost           silence, a broken message, or a session that was lost: the same may succeed later
    ├── EcuContradicts    the answer does not fit the request or the contract
    ├── RolledBack        the ECU went back to its old version
    ├── TrialUnsteady     a trial image was reset, or went silent, while it was watched
    ├── BusUnavailable    the bus itself
    ├── ProfileInvalid    the flash profile is missing or wrong
    └── DependenciesNotMet FF01 says that what the image depends on is not there

Each message names ECU and step, the negative response code where there is one, and what to do.
"""

from __future__ import annotations


class FlashError(Exception):
    """An ECU did not do what the update needs of it.

    Attributes:
        ecu: its name; "" where it concerns the bus.
        step: what was tried, e.g. "31 01 FF00 erase memory".
        nrc: the negative response code, if the ECU gave one.
        retryable: whether the same call may succeed later (silence, power cut), as against a refusal.
    """

    def __init__(self, message: str, *, ecu: str, step: str, nrc: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.ecu = ecu
        self.step = step
        self.nrc = nrc
        self.retryable = retryable


class EcuRefused(FlashError):
    """A negative response that repeating does not change, or a routine that answered "no"."""


class PatchRefused(EcuRefused):
    """The ECU does not take this patch."""


class EcuLost(FlashError):
    """The ECU is silent, or has forgotten where we were. Always retryable."""

    def __init__(self, message: str, *, ecu: str, step: str, nrc: int | None = None) -> None:
        super().__init__(message, ecu=ecu, step=step, nrc=nrc, retryable=True)


class EcuContradicts(FlashError):
    """An answer that does not fit its request, or a state the slot table should not have."""


class RolledBack(FlashError):
    """The ECU's bootloader gave the new image up; it runs the old one."""


class TrialUnsteady(FlashError):
    """The new image does not run on steadily; it is not to be confirmed."""


class BusUnavailable(FlashError):
    """The bus cannot be opened, or went away. Retryable."""

    def __init__(self, message: str, *, ecu: str = "", step: str = "open bus") -> None:
        super().__init__(message, ecu=ecu, step=step, retryable=True)


class ProfileInvalid(FlashError):
    """No such flash profile, or one that says something impossible."""


class DependenciesNotMet(FlashError):
    """An ECU that is not activated yet says that what its image depends on is not there."""


class FlashCanceled(Exception):
    """The ``cancel`` event was set; inactive slots may be half written, running slots are untouched."""
