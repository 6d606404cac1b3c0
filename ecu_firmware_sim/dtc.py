"""Diagnostic trouble codes: which there are, when their status bits move, and that they survive.

Codes are three bytes, after ISO 15031-6 where a code fits (P06xx: internal control module) and manufacturer-specific where none
does (P16xx). Status bits after ISO 14229-1 annex D: testFailed 01, testFailedThisOperationCycle 02, pendingDTC 04,
confirmedDTC 08, testFailedSinceLastClear 20. While DTC setting is off (85 02) nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from ecu_firmware_sim.nvm import NvmStore, StoredDtc

STATUS_AVAILABILITY_MASK: Final = 0x2F
_FAILED: Final = 0x2F
_THIS_CYCLE: Final = 0x03
ALL_GROUPS: Final = 0xFFFFFF


class Dtc(IntEnum):
    """What this ECU can report."""

    SLOT_CHECKSUM = 0x060100
    """P0601: a slot's image failed verification at boot."""
    IMAGE_REFUSED = 0x060200
    """P0602: check memory or a rebuild refused an image."""
    FLASH_ERROR = 0x062F00
    """P062F: the flash refused an operation, or a record had to be rebuilt."""
    BOOT_FAILED = 0x160100
    """A trial image did not come up."""
    ROLLED_BACK = 0x160200
    """A trial ended and the confirmed image was booted instead."""


class DtcMemory:
    """The trouble codes in NVM.

    Args:
        nvm: loaded.
        utc: the time as text, for the record.
    """

    def __init__(self, nvm: NvmStore, *, utc: Callable[[], str]) -> None:
        self._nvm = nvm
        self._utc = utc
        self.setting_on = True

    def start_operation_cycle(self) -> None:
        """At power-on: what failed in an earlier cycle has not failed in this one. Raises PowerLost."""
        kept = tuple(dtc.model_copy(update={"status": dtc.status & ~_THIS_CYCLE}) for dtc in self._nvm.current.dtcs)
        self._nvm.update(dtcs=kept)

    def set(self, dtc: Dtc, text: str) -> None:
        """Stores a code with time and job, unless setting is off. Raises PowerLost."""
        if not self.setting_on:
            return
        stored = {entry.code: entry for entry in self._nvm.current.dtcs}
        count = stored[dtc].count + 1 if dtc in stored else 1
        stored[dtc] = StoredDtc(
            code=dtc,
            status=_FAILED,
            count=min(count, 0xFF),
            job_id=self._nvm.current.job_id[:64],
            text=text[:160],
            set_at=self._utc(),
        )
        self._nvm.update(dtcs=tuple(stored.values()))

    def clear(self, group: int) -> bool:
        """Clears a code or all of them; False if there is no such code or group. Raises PowerLost."""
        if group == ALL_GROUPS:
            self._nvm.update(dtcs=())
            return True
        if group not in Dtc.__members__.values():
            return False
        self._nvm.update(dtcs=tuple(entry for entry in self._nvm.current.dtcs if entry.code != group))
        return True

    def with_status(self, mask: int) -> list[tuple[int, int]]:
        """Codes and statuses of which a bit of ``mask`` is set."""
        return [(entry.code, entry.status) for entry in self._nvm.current.dtcs if entry.status & mask]

    def supported(self) -> list[tuple[int, int]]:
        """All codes with their status, 0 where never set."""
        status = {entry.code: entry.status for entry in self._nvm.current.dtcs}
        return [(int(dtc), status.get(dtc, 0)) for dtc in Dtc]
