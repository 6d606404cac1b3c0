"""What an ECU with a sequence profile reports, as an identity with slots.

An ECU reports a slot table, or only its version, or nothing. Without a table, slots are made up from the version and the gateway's own
record (``records``), so that agent, cloud and page see every ECU in the same shape:

* one slot for a single bank, two otherwise;
* software of a job that is not confirmed yet is TRIAL, any other that runs is CONFIRMED;
* an ECU in its bootloader has an INVALID active slot and version 0.0.0.
"""

from __future__ import annotations

from typing import Final

from otabench.bench.gateway.flashing.records import Act, EcuRecord, EcuRecords
from otabench.bench.uds import slot_table
from otabench.bench.uds.errors import EcuRefused
from otabench.bench.uds.identity import AWAIT_STEP, EcuIdentity
from otabench.bench.uds.sequence.sections import DidText, SlotsKind, VersionOrder
from otabench.bench.uds.sequence.template import TemplateError
from otabench.bench.uds.sequence_client import SequenceClient
from otabench.bench.uds.slot_table import Slot, SlotState, SlotTable, same_version
from otabench.proto.image_format import NOTHING_RUNS

_NO_APPLICATION: Final = str(NOTHING_RUNS)
_BEFORE_ACTIVATION: Final = frozenset({Act.BEGUN, Act.STAGED, Act.REVERTED})


class SequenceReading:
    """What one ECU reports.

    Args:
        client: the ECU.
        records: the gateway's records of its jobs.
    """

    def __init__(self, client: SequenceClient, records: EcuRecords) -> None:
        self._client = client
        self._profile = client.profile
        self._records = records

    @property
    def record(self) -> EcuRecord | None:
        """The ECU's last job; None before the first."""
        return self._records.read(self._client.name)

    @property
    def has_version(self) -> bool:
        """Whether the ECU reports its version. Otherwise ``version`` returns the one that is noted."""
        return self._profile.identity.version is not None or self._profile.slots.kind is SlotsKind.TABLE

    def version(self, *, p2_s: float | None = None) -> str | None:
        """Return the version that runs, or None if the ECU is in its bootloader.

        Raises:
            FlashError: the ECU does not answer, or its record does not fit.
        """
        rule = self._profile.bootloader
        if rule is not None and self._is_in_bootloader(p2_s):
            return None
        text = self._profile.identity.version
        # A table of this project's layout has the version of each slot; in another one it may be missing.
        if self._profile.slots.kind is SlotsKind.TABLE and (text is None or self._profile.slots.did is not None):
            return self.slots(p2_s=p2_s).active.version or None
        if text is None:
            self._require_answer(p2_s)
            return self._noted_version()
        try:
            return self._text(text, p2_s)
        except EcuRefused:
            if rule is not None:
                raise
            # The version is the application's. A bootloader does not have it.
            return None

    def slots(self, *, p2_s: float | None = None) -> SlotTable:
        """Return the slot table of an ECU that has one.

        Raises:
            FlashError: as ``version``.
        """
        own = self._profile.slots
        if own.layout is not None:
            try:
                return own.layout.read(lambda did: self._client.read(did, p2_s=p2_s))
            except ValueError as error:
                raise self._client.contradiction("22 read of the slots", str(error)) from error
        assert own.did is not None
        record = self._client.read(own.did, p2_s=p2_s)
        try:
            return slot_table.parse(record)
        except ValueError as error:
            raise self._client.contradiction(f"22 {own.did:04X} read", str(error)) from error

    def is_version(self, running: str | None, wanted: str) -> bool:
        """Return whether two texts denote the same version of this kind of ECU."""
        if running is None:
            return False
        order = self._profile.versions.order
        if order is VersionOrder.SEMVER:
            return same_version(running, wanted)
        # Numeric versions may have leading zeros: 0123 is 123.
        if order is VersionOrder.NUMERIC and running.isdecimal() and wanted.isdecimal():
            return int(running) == int(wanted)
        return running == wanted

    def is_former(self, running: str | None, record: EcuRecord) -> bool:
        """Return whether a version is the one that ran before the job. If that is not known, any but the job's own is."""
        if record.from_version:
            return self.is_version(running, record.from_version)
        return running is not None and not self.is_version(running, record.version)

    def identity(self) -> EcuIdentity:
        """Return everything that the ECU reports. What it does not report comes from configuration and record.

        Raises:
            FlashError: as ``version``.
        """
        endpoint, own = self._client.endpoint, self._profile.identity
        version = self.version()
        table = self.slots() if self._profile.slots.kind is SlotsKind.TABLE else self._made_up(version)
        return EcuIdentity(
            ecu=self._client.name,
            serial=self._text_or(own.serial, endpoint.serial),
            hardware_id=self._text_or(own.hardware_id, endpoint.hardware_id),
            software_version=_NO_APPLICATION if version is None else version,
            active_slot=table.active_slot,
            boots_left=table.boots_left,
            slots=table.slots,
            boot_software_id=self._text_or(own.boot_software_id, ""),
        )

    def _made_up(self, version: str | None) -> SlotTable:
        record = self.record
        if version is None:
            active = Slot(SlotState.INVALID, "", 0)
        else:
            is_trial = record is not None and record.act is Act.ACTIVATED and self.is_version(version, record.version)
            active = Slot(SlotState.TRIAL if is_trial else SlotState.CONFIRMED, version, 0)
        if self._profile.slots.kind is SlotsKind.SINGLE:
            return SlotTable(0, 0, (active,))
        other = Slot(SlotState.EMPTY, "", 0)
        if record is not None and record.act is Act.STAGED:
            other = Slot(SlotState.STAGED, record.version, 0)
        elif record is not None and record.from_version and self.is_version(version, record.version):
            other = Slot(SlotState.CONFIRMED, record.from_version, 0)
        return SlotTable(0, 0, (active, other))

    def _noted_version(self) -> str | None:
        """Return what an ECU that reports no version runs, by the record. None: it was being programmed."""
        record = self.record
        if record is None:
            given = self._client.endpoint.former_image
            return "" if given is None else given.version
        if record.act in _BEFORE_ACTIVATION:
            return record.from_version
        # PROGRAMMING and REVERTING were interrupted: there may be no application.
        return record.version if record.act in (Act.ACTIVATED, Act.CONFIRMED) else None

    def _is_in_bootloader(self, p2_s: float | None) -> bool:
        rule = self._profile.bootloader
        assert rule is not None
        try:
            record = self._client.read(rule.did, p2_s=p2_s)
        except EcuRefused:
            return False
        return not rule.expect.mismatch(record, _NoScope())

    def _require_answer(self, p2_s: float | None) -> None:
        """Check that the ECU is there. A refusal proves that as well as a positive response does."""
        try:
            self._client.ask(b"\x3e\x00", step=AWAIT_STEP, p2_s=p2_s)
        except EcuRefused:
            return

    def _text(self, text: DidText, p2_s: float | None = None) -> str:
        record = self._client.read(text.did, p2_s=p2_s)
        try:
            return text.text_of(record)
        except ValueError as error:
            raise self._client.contradiction(f"22 {text.did:04X} read", str(error)) from error

    def _text_or(self, text: DidText | None, otherwise: str) -> str:
        """Return a text that the ECU reports, or another one if it does not report it, or not now."""
        if text is None:
            return otherwise
        try:
            return self._text(text)
        except EcuRefused:
            return otherwise


class _NoScope:
    """For patterns outside a sequence, which have constant bytes only."""

    def number(self, name: str) -> int:
        """See ``template.Scope``."""
        raise TemplateError(f"{{{name}}} exists in a sequence only")

    def value(self, name: str, before: bytes) -> bytes:
        """See ``template.Scope``."""
        raise TemplateError(f"{{{name}}} exists in a sequence only")
