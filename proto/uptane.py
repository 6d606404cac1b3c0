"""The ``custom`` fields of the Director's Targets: what a manifest states about a vehicle and its ECUs.

Uptane adds these fields. TUF's own fields (path, length, sha256, version, expires, signatures) are handled by python-tuf. A reader must
verify the signatures first, and then judge whether the fields fit *this* vehicle. The gateway does so in ``bench.gateway.trust``, the ECU
in its partial verification.

* Targets.signed has an extra member ``custom`` (``ManifestCustom``), and every target has ``custom`` (``TargetCustom``).
* Each target is one ECU's full image. Its ``patch`` rebuilds the same image.
* A target with ``payload`` is a program file (HEX, VBF, a raw binary, …) for an ECU that is no MCUboot target. Its version is a text in the
  ECU's own order (``proto.version_order``), and it has neither patch nor encryption nor dependencies.
* In an encrypted campaign ``encryption`` describes the files to download. Length and digest of image and patch remain those of the plain
  files, so the ECU's checks stay the same.
* The Director's Root has ``custom``, too: the keys that attest the time (``RootCustom``).
* ``vehicle`` states which version every ECU of the vehicle runs after the update, by image number. An ECU judges its image's dependencies
  by it, because it trusts only signed statements about other ECUs.

Unknown fields are ignored, because TUF permits a later version to add fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from otabench.proto.conditions import DEFAULT_LIMIT_S, MAX_CONDITIONS, ConditionText
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import MAX_LANGUAGES, DriverTexts, Language
from otabench.proto.image_format import MAX_IMAGE_NUMBER, MAX_RXSWIN_CHARACTERS, ImageVersion
from otabench.proto.program_format import MAX_ADDRESS, ProgramFormat

MANIFEST_CUSTOM_KEY: Final = "custom"
MAX_TIME_KEYS: Final = 8
MAX_SEGMENTS: Final = 256
"""Of one program file: the Targets must fit an ECU's metadata window (64 KiB)."""
FORMATS_WITHOUT_ADDRESSES: Final = frozenset({ProgramFormat.RAW, ProgramFormat.MCUBOOT})
"""Files of bytes that may lie anywhere."""
_MAY_BE_COMPRESSED: Final = frozenset({ProgramFormat.VBF, ProgramFormat.ODX_F, ProgramFormat.PDX})

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _version(text: str) -> str:
    ImageVersion.parse(text)
    return text


VersionText = Annotated[str, AfterValidator(_version)]
"""A text that ``ImageVersion.parse`` reads."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TimeKeys(_Model):
    """The keys that attest the time (``proto.time_attestation``): Ed25519 public keys, and how many of them must sign."""

    keys: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field(min_length=1, max_length=MAX_TIME_KEYS)
    threshold: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _can_be_reached(self) -> TimeKeys:
        if len(set(self.keys)) != len(self.keys) or self.threshold > len(self.keys):
            raise ValueError("time keys: one occurs twice, or the threshold is higher than their number")
        return self


class RootCustom(_Model):
    """The extra member ``custom`` of the Director's Root."""

    time: TimeKeys | None = None


def time_keys_of(root_fields: Mapping[str, object]) -> TimeKeys | None:
    """Return the time keys of a verified Root, from its fields that TUF does not define. None: this Director does not attest the time.

    Raises:
        ValueError: the member is not well-formed.
    """
    return RootCustom.model_validate(root_fields.get(MANIFEST_CUSTOM_KEY, {})).time


class EncryptionCustom(_Model):
    """The encrypted file to download instead of the plain one (``proto.encrypted_artifact``)."""

    path: str
    length: int = Field(ge=1)
    sha256: Sha256Hex
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The ECU's X25519 key, for which the file is encrypted."""
    format: Literal["OTAE-1"] = "OTAE-1"


class PatchCustom(_Model):
    """A bsdiff4 patch that rebuilds the target from the image that the ECU runs now."""

    path: str
    length: int = Field(ge=1)
    sha256: Sha256Hex
    base_version: str
    base_sha256: Sha256Hex
    base_length: int = Field(ge=1)
    encryption: EncryptionCustom | None = None


class RequirementCustom(_Model):
    """A dependency of the image, as in its TLV 0x40: the image number and its minimum version."""

    image_number: int = Field(ge=0, le=MAX_IMAGE_NUMBER)
    version: VersionText


class VehicleEcuCustom(_Model):
    """The version that one ECU of the vehicle runs after the update."""

    image_number: int = Field(ge=1, le=MAX_IMAGE_NUMBER)
    ecu: str
    ecu_serial: str
    version: VersionText


class SegmentCustom(_Model):
    """A contiguous part of a program file."""

    address: int = Field(ge=0, le=MAX_ADDRESS)
    length: int = Field(ge=1, le=MAX_ADDRESS + 1)
    """In the file; compressed or encrypted data have another length in the ECU."""

    def __str__(self) -> str:
        return f"0x{self.address:08X} ({self.length:,} bytes)"


class PayloadCustom(_Model):
    """The format and contents of a program file."""

    format: ProgramFormat
    start_address: int | None = Field(default=None, ge=0, le=MAX_ADDRESS)
    """Where a file without addresses of its own belongs. Other formats do not have it."""
    segments: tuple[SegmentCustom, ...] = Field(min_length=1, max_length=MAX_SEGMENTS)
    """By address."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> PayloadCustom:
        has_addresses = self.format not in FORMATS_WITHOUT_ADDRESSES
        if has_addresses == (self.start_address is not None):
            needs = "has its own addresses" if has_addresses else "needs a start address"
            raise ValueError(f"{self.format} {needs}")
        if not has_addresses and (len(self.segments) != 1 or self.segments[0].address != self.start_address):
            raise ValueError(f"{self.format} has one segment, at its start address")
        for before, after in pairwise(self.segments):
            # Compressed data occupy more memory than their length in the file, so only their order can be judged.
            if after.address < before.address + (1 if self.format in _MAY_BE_COMPRESSED else before.length):
                raise ValueError("its segments overlap, or are not in the order of their addresses")
        if self.segments[-1].address + self.segments[-1].length > MAX_ADDRESS + 1:
            raise ValueError("its last segment ends outside a memory of 4 GiB")
        return self


def first_outside(payload: PayloadCustom, memory: Sequence[tuple[int, int]]) -> SegmentCustom | None:
    """Return the first segment of a program file that is not in one of these parts of a memory, or None.

    Args:
        payload: the file.
        memory: first address of each part, and the one behind its last. Empty: anywhere is inside.
    """
    may_be_compressed = payload.format in _MAY_BE_COMPRESSED
    for segment in payload.segments if memory else ():
        # Compressed data have another length in the memory, so only their address can be judged.
        end = segment.address + (1 if may_be_compressed else segment.length)
        if not any(first <= segment.address and end <= behind for first, behind in memory):
            return segment
    return None


class TargetCustom(_Model):
    """The part of the manifest about one ECU."""

    ecu_serial: str
    hardware_id: str
    version: str
    release_counter: int = Field(ge=0)
    """The image's MCUboot security counter; 0 for a program file, which has none."""
    requires: tuple[RequirementCustom, ...] = ()
    """The image's dependencies, for the gateway, which cannot read an encrypted image. The ECU reads them from the image."""
    patch: PatchCustom | None = None
    encryption: EncryptionCustom | None = None
    rxswin: str = Field(default="", max_length=MAX_RXSWIN_CHARACTERS)
    """Of the image (UN R156); empty: it states none."""
    payload: PayloadCustom | None = None
    """None: the target is an MCUboot image."""

    @model_validator(mode="after")
    def _file_as_it_is(self) -> TargetCustom:
        if self.payload is not None and (self.patch or self.encryption or self.requires):
            raise ValueError("a program file has neither patch nor encryption nor dependencies")
        return self


class ManifestCustom(_Model):
    """The part of the manifest about the vehicle and the job."""

    vin: str
    job_id: str
    campaign_id: str
    campaign_name: str = ""
    release_notes: str = ""
    approval_timeout_s: float = 0.0
    """How long the driver may take to decide, counted from the first question. 0: no limit."""
    texts: dict[Language, DriverTexts] = Field(default_factory=dict, max_length=MAX_LANGUAGES)
    """What the driver reads, by language; in the page's language if it is there."""
    conditions: tuple[ConditionText, ...] = Field(default=(), max_length=MAX_CONDITIONS)
    """All must hold before the driver may install, and again before anything is activated."""
    conditions_limit_s: float = Field(default=DEFAULT_LIMIT_S, gt=0)
    """How long the vehicle waits for a lost condition before it gives up."""
    driver: DriverRules = DriverRules()
    """What the driver may decide, and how often."""
    vehicle: tuple[VehicleEcuCustom, ...] = ()
    """Every ECU with a known version in MCUboot's form, whether it is in this campaign or not."""

    @model_validator(mode="after")
    def _each_once(self) -> ManifestCustom:
        for what, values in (
            ("image number", [each.image_number for each in self.vehicle]),
            ("ECU serial", [each.ecu_serial for each in self.vehicle]),
        ):
            # If a number or serial occurred twice, an ECU could not choose between the two versions.
            if len(set(values)) != len(values):
                raise ValueError(f"vehicle: an {what} occurs twice")
        return self

    def versions(self) -> dict[int, ImageVersion]:
        """Return the versions in the vehicle after the update, by image number."""
        return {each.image_number: ImageVersion.parse(each.version) for each in self.vehicle}
