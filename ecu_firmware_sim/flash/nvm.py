"""Non-volatile memory: one record, JSON inside, in two redundant banks.

It holds identity (serial, VIN), fingerprint, security attempts, the Director's newest Root, the last accepted Targets, the count of version
reports and the trouble codes. A power cut at any operation leaves the old or the new record. Boot control is a record of its own
(``boot.boot_control``).
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.records import RedundantRecord

REPORT_BLOCK: Final = 256
"""So many numbers of version reports are reserved by one write."""
# Here and not in ``uds.security``, because the record that replaces a lost one starts with it (``startup``).
MAX_SECURITY_ATTEMPTS: Final = 3


class StoredDtc(BaseModel):
    """A trouble code that was set, with the job under way and a text of what had happened."""

    model_config = ConfigDict(frozen=True)

    code: int
    status: int
    count: int = 1
    job_id: str = ""
    text: str = ""
    set_at: str = ""


class StoredRole(BaseModel):
    """A role of a kept Root: public keys in hexadecimal by key id, and how many must sign."""

    model_config = ConfigDict(frozen=True)

    keys: dict[str, str]
    threshold: int


class StoredRoot(BaseModel):
    """The newest Director's Root that was accepted, as far as an ECU needs it (``boot.root_chain``)."""

    model_config = ConfigDict(frozen=True)

    pin: str
    version: int
    expires_s: int
    """Seconds since 1970, UTC, as all times here."""
    root: StoredRole
    targets: StoredRole
    time: StoredRole | None = None
    """Time keys, by themselves. None: this Director does not attest the time."""


class NvmData(BaseModel):
    """One record."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    serial: str
    vin: str
    fingerprint: bytes = b""
    security_attempts: int = 0
    """Wrong keys since the last correct one. At MAX_SECURITY_ATTEMPTS the delay runs."""
    manifest_version: int = 0
    """Version of the last Targets that were accepted; 0 after their keys were replaced."""
    job_id: str = ""
    """The job of these Targets."""
    dtcs: tuple[StoredDtc, ...] = ()
    root: StoredRoot | None = None
    """None: the pinned Root."""
    attested_time_s: int = 0
    """The last attested time, before which nothing is believed; 0 if there is none, and after the time keys were replaced."""
    report_counter: int = 0
    """No version report has a higher number (``ReportCounter``)."""
    attack: str = ""
    """The name of what check memory refused last; empty once it has accepted something."""


class NvmStore:
    """The record in flash."""

    def __init__(self, flash: NorFlash, layout: FlashLayout) -> None:
        self._record = RedundantRecord(flash, offsets=layout.nvm_offsets, size_bytes=layout.nvm_bank_bytes)
        self._current: NvmData | None = None

    @property
    def current(self) -> NvmData:
        """The record as it was loaded or written last. Raises ValueError before the first of either."""
        if self._current is None:
            raise ValueError("NVM was not loaded")
        return self._current

    def load(self) -> NvmData | None:
        """Return the record from the banks; None if neither is valid. Raises PowerLost."""
        payload = self._record.load()
        try:
            self._current = None if payload is None else NvmData.model_validate_json(payload)
        except ValidationError:
            # The CRC was right, so another version of this program wrote it. It is treated as lost, which is safe.
            self._current = None
        return self._current

    def write(self, data: NvmData) -> None:
        """Make ``data`` the record, unless it is already. Raises PowerLost."""
        # Flash wears, and each write is one more moment for a power cut: what does not change is not written.
        if data != self._current:
            self._record.store(data.model_dump_json().encode())
            self._current = data

    def update(self, **changes: object) -> None:
        """Write the current record with ``changes``. Raises PowerLost."""
        self.write(self.current.model_copy(update=changes))


class ReportCounter:
    """The numbers of version reports, each higher than all before, over resets and power cuts.

    Flash would wear if each report wrote to it. So the record holds the end of a block of numbers, of which the first report after a
    start takes the next one. A reset loses the rest of the block, which only leaves a gap.
    """

    def __init__(self, nvm: NvmStore) -> None:
        self._nvm = nvm
        self._last = 0
        self._reserved = 0

    def take(self) -> int:
        """Return the next number. Raises PowerLost, and then no number of the new block was given out."""
        if self._last == self._reserved:
            start = self._nvm.current.report_counter
            self._nvm.update(report_counter=start + REPORT_BLOCK)
            self._last, self._reserved = start, start + REPORT_BLOCK
        self._last += 1
        return self._last
