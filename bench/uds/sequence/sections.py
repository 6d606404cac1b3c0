"""What a sequence profile states about its ECU beside the sequences: identity, slots, versions, payload, and what its acts mean.

    identity: {version: {did: 0xF189}, serial: {did: 0xF18C}, hardware_id: {did: 0xF191, decode: hex}}
    slots: {kind: single}
    versions: {order: semver}
    payload: {kind: raw}
    success: {by: version}
    confirm: none
    revert: flash_former

Nothing is obligatory. What the ECU does not report is taken from the bench file and from the gateway's own record.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from otabench.bench.uds.sequence.did_text import Decoding as Decoding  # part of this module's interface
from otabench.bench.uds.sequence.did_text import DidText as DidText
from otabench.bench.uds.sequence.slot_layout import ActiveSlot, DidByte, SlotEntry, SlotLayout
from otabench.bench.uds.sequence.steps import Byte, Word
from otabench.bench.uds.sequence.template import PatternText
from otabench.proto.version_order import VersionOrder as VersionOrder  # part of this module's interface
from otabench.proto.version_order import VersionRule


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(_Model):
    """The texts that the ECU reports about itself. What is missing comes from the bench file, and the version from the gateway's record."""

    serial: DidText | None = None
    hardware_id: DidText | None = None
    version: DidText | None = None
    boot_software_id: DidText | None = None


class Bootloader(_Model):
    """How to see that the ECU is in its bootloader: by a record. By default, an ECU whose version is refused is in its bootloader."""

    did: Word
    expect: PatternText

    @model_validator(mode="after")
    def _is_constant(self) -> Bootloader:
        if self.expect.fields:
            raise ValueError("expect: fields exist in a sequence only; give constant bytes, ?? for any")
        return self


class SlotsKind(StrEnum):
    """What holds the ECU's images."""

    TABLE = "table"
    """Two slots, which the ECU reports in a slot table."""
    VERSION_ONLY = "version_only"
    """Two slots of which nothing is reported but the version that runs."""
    SINGLE = "single"
    """One bank. While it is programmed, there is no application."""


class Slots(_Model):
    """The ECU's slots.

    Attributes:
        did: for ``table``: the identifier of a slot table of this project's layout (docs/contracts.md).
        active, each, boots_left: for ``table``, instead of ``did``: the parts of another layout (see ``slot_layout``).
    """

    kind: SlotsKind = SlotsKind.SINGLE
    did: Word | None = None
    active: ActiveSlot | None = None
    each: tuple[SlotEntry, SlotEntry] | None = None
    boots_left: DidByte | None = None

    @model_validator(mode="after")
    def _table_has_identifier(self) -> Slots:
        has_layout = self.active is not None and self.each is not None
        has_part = self.active is not None or self.each is not None or self.boots_left is not None
        if (self.kind is SlotsKind.TABLE) != (self.did is not None or has_part):
            raise ValueError(
                "did is the identifier of a slot table: kind: table needs it, or active and each; the others do not have them"
            )
        if has_part and (self.did is not None or not has_layout):
            raise ValueError("a slot table of another layout has active and each, and no did")
        return self

    @property
    def layout(self) -> SlotLayout | None:
        """The layout that the profile describes; None: that of docs/contracts.md, or no table."""
        if self.active is None or self.each is None:
            return None
        return SlotLayout(active=self.active, each=self.each, boots_left=self.boots_left)


class Versions(_Model):
    """The ECU's versions. ``known``: all of them, the oldest first, for the order ``list``."""

    # Without a stated order nothing may be assumed: any other version may follow.
    order: VersionOrder = VersionOrder.NONE
    known: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _list_is_given(self) -> Versions:
        if (self.order is VersionOrder.LIST) != bool(self.known):
            raise ValueError("order: list needs known: [oldest, …, newest], and only that order has it")
        # Twice in the list, a version would be newer than itself.
        if len(set(self.known)) != len(self.known):
            raise ValueError("known: a version occurs twice")
        return self

    @property
    def rule(self) -> VersionRule:
        """The same as a rule, which compares."""
        return VersionRule(self.order, self.known)


class MemoryRange(_Model):
    """A part of the ECU's memory."""

    address: int = Field(ge=0, lt=2**64)
    length: int = Field(ge=1, lt=2**64)


class Payload(_Model):
    """What is sent to the ECU.

    Attributes:
        kind: ``container``: an MCUboot image with header and signature; ``raw``: what is in a program file.
        address: where a container, or a binary without an address, belongs.
        memory: where a program file may have data, drivers for RAM included. Others are refused before anything is sent. Empty: anywhere.
        data_format: dataFormatIdentifier (34) of a container.
        patch_data_format: that of a patch; None: the ECU takes none.
    """

    kind: Literal["container", "raw"] = "raw"
    address: int | None = Field(default=None, ge=0, lt=2**64)
    memory: tuple[MemoryRange, ...] = ()
    data_format: Byte = 0x00
    patch_data_format: Byte | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _container_has_address(self) -> Payload:
        if self.kind == "container" and self.address is None:
            raise ValueError("a container needs the address that it is sent to")
        # A patch rebuilds an image in the ECU's slot; a program file has blocks at addresses of its own.
        if self.kind == "raw" and self.patch_data_format is not None:
            raise ValueError("patches are made of containers only")
        if self.kind == "container" and self.memory:
            raise ValueError("memory is for program files; a container has one address")
        return self


class Success(_Model):
    """What proves that the new software runs.

    Attributes:
        by: ``version``: the ECU reports the new version; ``slot``: its slot table has it in a trial or confirmed slot;
            ``sequence``: the steps of ``verify`` succeed. These steps are carried out in the other cases, too.
    """

    by: Literal["version", "slot", "sequence"]


class Confirming(StrEnum):
    """How the new software becomes permanent."""

    SEQUENCE = "sequence"
    ITSELF = "itself"
    """The ECU does it."""
    NONE = "none"
    """It is permanent from the first boot on."""


class Reverting(StrEnum):
    """How the ECU returns to the software before."""

    SEQUENCE = "sequence"
    RESET_UNCONFIRMED = "reset_unconfirmed"
    """A reset before it is confirmed."""
    FLASH_FORMER = "flash_former"
    """The former image is flashed again."""
    NONE = "none"
    """Not at all."""
