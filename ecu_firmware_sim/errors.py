"""All exceptions of this package.

EcuSimError                 wrong world: reported in one line, exit status 1
├── ConfigError             the configuration or a file it names cannot be used
├── BusUnavailable          the CAN interface is absent or cannot be opened
├── FaultError              a fault that cannot be set as requested
└── FlashError              the flash refused an operation (unerased page, out of bounds, unaligned)
PowerLost                   power was lost during an operation; only the ECU's loop and sweeps may catch it
SlotTransitionError         the slot table has no such transition

Verdicts are beside the rules that reach them: ImageRefused (boot/image.py), ManifestRefused (boot/manifest.py), PatchRefused
(programming/delta.py), DecryptionRefused (programming/decryption.py), NotNow and OutOfRange (programming/permission.py), NotAccepted
(programming/verification.py), Negative (uds/rules.py).
"""

from __future__ import annotations


class EcuSimError(Exception):
    """An error whose message states in one line what is wrong, where, and what to do."""


class ConfigError(EcuSimError):
    """The configuration, or a file it names, cannot be used."""


class BusUnavailable(EcuSimError):
    """The CAN interface is absent or cannot be opened."""


class FaultError(EcuSimError):
    """A fault that is unknown or whose parameters are wrong."""


class FlashError(EcuSimError):
    """The flash refused an operation.

    Attributes:
        offset: where in the flash, in bytes.
    """

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


# Not an EcuSimError: a handler of those would carry on as if the ECU still had power.
class PowerLost(Exception):
    """Power was lost. The operation in progress stops where it is, and flash keeps its contents."""


class SlotTransitionError(Exception):
    """The slot table has no such transition."""
