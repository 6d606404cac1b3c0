"""The profile of the Director's Targets metadata: what stands in ``custom``, for one vehicle's update.

TUF's own fields (path, length, sha256, version, expires, signatures) are python-tuf's. Here are only the fields that
Uptane adds per vehicle and ECU, and how they are spelt. Whoever reads them has verified the signatures first; whether
they fit *this* vehicle is judged by the reader (gateway: ``bench.gateway.trust.primary``, ECU: its partial verification).

Targets.signed has an extra member ``custom`` (``ManifestCustom``); every target has ``custom`` (``TargetCustom``). Each
target is one ECU's full image; a patch that rebuilds the same image stands inside as ``patch``. Where a campaign is encrypted,
``encryption`` stands beside the facts of image and patch, which stay those of the plain ones: what the ECU checks does not change.

``vehicle`` states which version every ECU of the vehicle runs once this campaign is done, by the image numbers that images name
each other by: what an ECU judges its image's dependencies by, as it trusts nobody else about other ECUs.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from otabench.proto.image_format import MAX_IMAGE_NUMBER, ImageVersion

MANIFEST_CUSTOM_KEY: Final = "custom"

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _version(text: str) -> str:
    ImageVersion.parse(text)
    return text


VersionText = Annotated[str, AfterValidator(_version)]
"""As ``ImageVersion`` reads it."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EncryptionCustom(_Model):
    """The file that is downloaded instead, encrypted for this ECU (``encrypted_artifact``)."""

    path: str
    length: int = Field(ge=1)
    sha256: Sha256Hex
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The ECU's X25519 key that it is sealed for."""
    format: Literal["OTAE-1"] = "OTAE-1"


class PatchCustom(_Model):
    """A bsdiff4 patch that makes the target from the image the ECU runs now."""

    path: str
    length: int = Field(ge=1)
    sha256: Sha256Hex
    base_version: str
    base_sha256: Sha256Hex
    base_length: int = Field(ge=1)
    encryption: EncryptionCustom | None = None


class RequirementCustom(_Model):
    """A dependency of the image, as its TLV 0x40 says: that image number at least in that version."""

    image_number: int = Field(ge=0, le=MAX_IMAGE_NUMBER)
    version: VersionText


class VehicleEcuCustom(_Model):
    """What one ECU of the vehicle runs once the campaign is done."""

    image_number: int = Field(ge=1, le=MAX_IMAGE_NUMBER)
    ecu: str
    ecu_serial: str
    version: VersionText


class TargetCustom(_Model):
    """One ECU's part of the manifest."""

    ecu_serial: str
    hardware_id: str
    version: str
    release_counter: int = Field(ge=0)
    """The image's MCUboot security counter."""
    requires: tuple[RequirementCustom, ...] = ()
    """For the gateway, which may not be able to read the image; the ECU judges what the image itself says."""
    patch: PatchCustom | None = None
    encryption: EncryptionCustom | None = None


class ManifestCustom(_Model):
    """The vehicle's part of the manifest."""

    vin: str
    job_id: str
    campaign_id: str
    campaign_name: str = ""
    release_notes: str = ""
    approval_timeout_s: float = 0.0
    """How long the driver may take from the first question on; 0: no limit."""
    vehicle: tuple[VehicleEcuCustom, ...] = ()
    """Every ECU whose version the Director knows, in this campaign or not."""

    @model_validator(mode="after")
    def _each_once(self) -> ManifestCustom:
        for what, values in (
            ("image number", [each.image_number for each in self.vehicle]),
            ("ECU serial", [each.ecu_serial for each in self.vehicle]),
        ):
            if len(set(values)) != len(values):
                raise ValueError(f"vehicle: an {what} stands twice")
        return self

    def versions(self) -> dict[int, ImageVersion]:
        """What the vehicle runs once the campaign is done, by image number."""
        return {each.image_number: ImageVersion.parse(each.version) for each in self.vehicle}
