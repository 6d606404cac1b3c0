"""Diagnostic trouble codes: the codes of this ECU, the changes of their status bits, and their storage.

Codes are three bytes, after ISO 15031-6 where a code fits (P06xx: internal control module) and manufacturer-specific where none
does (P16xx). Status bits are those of ISO 14229-1 annex D: testFailed 01, testFailedThisOperationCycle 02, pendingDTC 04,
confirmedDTC 08, testFailedSinceLastClear 20. An operation cycle lasts from one boot to the next. A cycle in which a code did not fail
counts as passed: after it the code is not pending any more. A confirmed code stays until it is cleared.

While DTC setting is off (85 02), status bits do not change, except those of failures of programming itself (``NOT_SWITCHED_OFF``): a
tester switches the setting off because other ECUs fall silent meanwhile, not to lose the course of its own update. Another failure is
stored when setting is switched on again (85 01, default session), if it still exists then, with the time and the job of the failure.
A reset drops it, because the boot tests again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from otabench.ecu_firmware_sim.flash.nvm import NvmStore, StoredDtc

STATUS_AVAILABILITY_MASK: Final = 0x2F
# A code is confirmed by its first failure: each of them is an event, not a measurement that has to be debounced.
_FAILED: Final = 0x2F
_FAILED_THIS_CYCLE: Final = 0x02
# testFailed and testFailedThisOperationCycle: a new cycle clears both.
_THIS_CYCLE: Final = 0x03
_PENDING: Final = 0x04
ALL_GROUPS: Final = 0xFFFFFF


class Dtc(IntEnum):
    """The codes of this ECU."""

    SLOT_CHECKSUM = 0x060100
    """P0601: a slot's image failed verification at boot."""
    SUPPLY_LOW = 0x056200
    """P0562: the supply's voltage is too low."""
    SUPPLY_HIGH = 0x056300
    """P0563: the supply's voltage is too high."""
    IMAGE_REFUSED = 0x060200
    """P0602: check memory, a rebuild, or what the image depends on refused an image."""
    FLASH_ERROR = 0x062F00
    """P062F: the flash refused an operation, or a record had to be rebuilt."""
    BOOT_FAILED = 0x160100
    """A trial image did not come up."""
    ROLLED_BACK = 0x160200
    """A trial was given up, or the tester left the running slot (0212): the other image is booted instead."""


NOT_SWITCHED_OFF: Final = frozenset(
    {Dtc.SLOT_CHECKSUM, Dtc.IMAGE_REFUSED, Dtc.FLASH_ERROR, Dtc.BOOT_FAILED, Dtc.ROLLED_BACK}
)
"""Failures that are stored at once, even while DTC setting is off."""


@dataclass(frozen=True)
class _Failure:
    text: str
    job_id: str
    at: str


class DtcMemory:
    """The trouble codes in NVM.

    Args:
        nvm: loaded.
        utc: the time as text (ISO 8601), for the record.
        job_id: returns the job under way; None: that of the last accepted Targets is used.
    """

    def __init__(self, nvm: NvmStore, *, utc: Callable[[], str], job_id: Callable[[], str] | None = None) -> None:
        self._nvm = nvm
        self._utc = utc
        self._job_id = job_id or (lambda: nvm.current.job_id)
        self._setting_on = True
        self._failing: dict[Dtc, _Failure] = {}

    @property
    def setting_on(self) -> bool:
        """Whether status bits change."""
        return self._setting_on

    @setting_on.setter
    def setting_on(self, is_on: bool) -> None:
        self._setting_on = is_on
        if is_on:
            # Taken away first: what ``_store`` raises must not leave them to be stored a second time.
            failing, self._failing = self._failing, {}
            for dtc, failure in failing.items():
                self._store(dtc, failure)

    def start_operation_cycle(self) -> None:
        """Start a cycle, at power-on: codes that failed in an earlier cycle have not failed in this one. Raises PowerLost."""
        kept = tuple(dtc.model_copy(update={"status": _in_new_cycle(dtc.status)}) for dtc in self._nvm.current.dtcs)
        self._nvm.update(dtcs=kept)

    def set(self, dtc: Dtc, text: str) -> None:
        """Store a code with time and job, or keep it until DTC setting is on. Raises PowerLost."""
        # Texts are bounded: all codes with their texts must fit into one NVM bank.
        failure = _Failure(text[:160], self._job_id()[:64], self._utc())
        if self._setting_on or dtc in NOT_SWITCHED_OFF:
            self._store(dtc, failure)
        else:
            self._failing[dtc] = failure

    def passed(self, dtc: Dtc) -> None:
        """Drop a failure that waits for DTC setting to be on, because it does not exist any more."""
        self._failing.pop(dtc, None)

    def _store(self, dtc: Dtc, failure: _Failure) -> None:
        stored = {entry.code: entry for entry in self._nvm.current.dtcs}
        # The newest failure replaces text, time and job of the former ones; only their number is kept, in one byte.
        count = stored[dtc].count + 1 if dtc in stored else 1
        stored[dtc] = StoredDtc(
            code=dtc,
            status=_FAILED,
            count=min(count, 0xFF),
            job_id=failure.job_id,
            text=failure.text,
            set_at=failure.at,
        )
        self._nvm.update(dtcs=tuple(stored.values()))

    def clear(self, group: int) -> bool:
        """Clear one code or all of them. Return False if the ECU does not have the code or group. Raises PowerLost."""
        if group == ALL_GROUPS or group in Dtc.__members__.values():
            self._failing = {dtc: found for dtc, found in self._failing.items() if group not in (ALL_GROUPS, dtc)}
        if group == ALL_GROUPS:
            self._nvm.update(dtcs=())
            return True
        # ISO 14229-1 refuses a group that the ECU does not have; one without stored codes is cleared all the same.
        if group not in Dtc.__members__.values():
            return False
        self._nvm.update(dtcs=tuple(entry for entry in self._nvm.current.dtcs if entry.code != group))
        return True

    def with_status(self, mask: int) -> list[tuple[int, int]]:
        """Return the codes and statuses of which a bit of ``mask`` is set."""
        return [(entry.code, entry.status) for entry in self._nvm.current.dtcs if entry.status & mask]

    def find(self, code: int) -> tuple[int, StoredDtc | None] | None:
        """Return the status and record of one code; None if this ECU has no such code."""
        if code not in Dtc.__members__.values():
            return None
        stored = next((entry for entry in self._nvm.current.dtcs if entry.code == code), None)
        return (0 if stored is None else stored.status), stored

    def supported(self) -> list[tuple[int, int]]:
        """Return all codes with their status, 0 where never set."""
        status = {entry.code: entry.status for entry in self._nvm.current.dtcs}
        return [(int(dtc), status.get(dtc, 0)) for dtc in Dtc]


def _in_new_cycle(status: int) -> int:
    return status & ~(_THIS_CYCLE if status & _FAILED_THIS_CYCLE else _THIS_CYCLE | _PENDING)
