"""Why an ECU could not be programmed.

    FlashError (bench.gateway.vehicle)
    ├── EcuRefused        the ECU answered, and refused: a negative response, or a routine's status
    │   └── PatchRefused  the same for a patch: the full image may still be taken
    ├── EcuLost           silence, a broken message, or a session that was lost: the same may succeed later
    ├── EcuContradicts    the answer does not fit the request or the contract
    ├── RolledBack        the ECU went back to its old version
    ├── TrialUnsteady     a trial image was reset, or went silent, while it was watched
    ├── BusUnavailable    the bus itself
    ├── ProfileInvalid    the flash profile is missing or wrong
    └── DependenciesNotMet (bench.gateway.vehicle)  FF01 says that what the image depends on is not there

Each message names ECU and step, the negative response code where there is one, and what to do.
"""

from __future__ import annotations

from bench.gateway.vehicle import FlashError

__all__ = [
    "BusUnavailable",
    "EcuContradicts",
    "EcuLost",
    "EcuRefused",
    "FlashError",
    "PatchRefused",
    "ProfileInvalid",
    "RolledBack",
    "TrialUnsteady",
]


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
