"""Everything this package raises.

EcuSimError                 wrong world: said in one line, exit status 1
├── ConfigError             the configuration or a file it names cannot be used
├── BusUnavailable          the CAN interface is absent or cannot be opened
├── FaultError              a fault that cannot be set as asked
└── FlashError              the flash refused an operation (unerased page, out of bounds, unaligned)
PowerLost                   power went while something was being done; only the power supply may catch it
SlotTransitionError         the slot table has no such transition
ImageRefused (image.py), ManifestRefused (manifest.py), PatchRefused (delta.py), DecryptionRefused (decryption.py),
Negative (uds/rules.py): verdicts
"""

from __future__ import annotations


class EcuSimError(Exception):
    """The message says what, where and what to do, in one line."""


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


class PowerLost(Exception):
    """Power went. Whatever was being done stops where it is; flash keeps what it held."""


class SlotTransitionError(Exception):
    """The slot table has no such transition."""
