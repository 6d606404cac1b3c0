"""What the ECU remembers besides its boot control: one record, JSON inside, in two redundant banks.

Identity (serial, VIN), fingerprint, security attempts, the last accepted manifest, trouble codes. Kept over power cycles; a
power cut at any operation leaves the old or the new record.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.records import RedundantRecord

MAX_SECURITY_ATTEMPTS: Final = 3


class StoredDtc(BaseModel):
    """A trouble code that was set, with the job that was under way and what had happened."""

    model_config = ConfigDict(frozen=True)

    code: int
    status: int
    count: int = 1
    job_id: str = ""
    text: str = ""
    set_at: str = ""


class NvmData(BaseModel):
    """One record."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    serial: str
    vin: str
    fingerprint: bytes = b""
    security_attempts: int = 0
    """Wrong keys since the last right one; at MAX_SECURITY_ATTEMPTS the delay runs."""
    manifest_version: int = 0
    """Version of the last Targets that were accepted."""
    job_id: str = ""
    """The job of these Targets."""
    dtcs: tuple[StoredDtc, ...] = ()


class NvmStore:
    """The record in flash."""

    def __init__(self, flash: NorFlash, layout: FlashLayout) -> None:
        self._record = RedundantRecord(flash, offsets=layout.nvm_offsets, size_bytes=layout.nvm_bank_bytes)
        self._current: NvmData | None = None

    @property
    def current(self) -> NvmData:
        """What was loaded or written last. Raises ValueError before the first of either."""
        if self._current is None:
            raise ValueError("NVM was not loaded")
        return self._current

    def load(self) -> NvmData | None:
        """Read both banks; None if neither is valid. Raises PowerLost."""
        payload = self._record.load()
        try:
            self._current = None if payload is None else NvmData.model_validate_json(payload)
        except ValidationError:
            self._current = None
        return self._current

    def write(self, data: NvmData) -> None:
        """Make ``data`` the record, unless it is already. Raises PowerLost."""
        if data != self._current:
            self._record.store(data.model_dump_json().encode())
            self._current = data

    def update(self, **changes: object) -> None:
        """Write the current record with ``changes``. Raises PowerLost."""
        self.write(self.current.model_copy(update=changes))
