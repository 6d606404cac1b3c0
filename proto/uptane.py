"""The ``custom`` fields of the Director's Targets: what the manifest of one vehicle's job states about vehicle and ECUs.

TUF's own fields (path, length, sha256, version, expires, signatures) are python-tuf's. These are the fields that Uptane adds. Whoever
reads them has verified the signatures first. Whether they fit *this* vehicle is judged by the reader: the gateway in
``bench.gateway.trust.primary``, the ECU in its partial verification.

* Targets.signed has an extra member ``custom`` (``ManifestCustom``), and every target has ``custom`` (``TargetCustom``).
* Each target is one ECU's full image. A patch that rebuilds the same image is its ``patch``.
* If the campaign is encrypted, ``encryption`` describes the files to download. Length and digest of image and patch stay those of the
  plain files, so what the ECU checks does not change.
* ``vehicle`` states which version every ECU of the vehicle runs after the update, by image number. An ECU judges its image's
  dependencies by it, because the Director's signature is the only statement about other ECUs that it trusts.

Unknown fields are ignored: TUF lets a later version add some.
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
"""A text that ``ImageVersion.parse`` reads."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EncryptionCustom(_Model):
    """The file to download instead, encrypted for this ECU (``proto.encrypted_artifact``)."""

    path: str
    length: int = Field(ge=1)
    sha256: Sha256Hex
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The ECU's X25519 key for which it is encrypted."""
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
    """What one ECU of the vehicle runs after the update."""

    image_number: int = Field(ge=1, le=MAX_IMAGE_NUMBER)
    ecu: str
    ecu_serial: str
    version: VersionText


class TargetCustom(_Model):
    """The part of the manifest about one ECU."""

    ecu_serial: str
    hardware_id: str
    version: str
    release_counter: int = Field(ge=0)
    """The image's MCUboot security counter."""
    requires: tuple[RequirementCustom, ...] = ()
    """For the gateway, which cannot read an encrypted image. The ECU judges the dependencies in the image itself."""
    patch: PatchCustom | None = None
    encryption: EncryptionCustom | None = None


class ManifestCustom(_Model):
    """The part of the manifest about the vehicle and the job."""

    vin: str
    job_id: str
    campaign_id: str
    campaign_name: str = ""
    release_notes: str = ""
    approval_timeout_s: float = 0.0
    """How long the driver may take, from the first question on. 0: no limit."""
    vehicle: tuple[VehicleEcuCustom, ...] = ()
    """Every ECU whose version the Director knows, whether it is in this campaign or not."""

    @model_validator(mode="after")
    def _each_once(self) -> ManifestCustom:
        for what, values in (
            ("image number", [each.image_number for each in self.vehicle]),
            ("ECU serial", [each.ecu_serial for each in self.vehicle]),
        ):
            # With one number or serial twice, an ECU could not tell which of two versions holds for it.
            if len(set(values)) != len(values):
                raise ValueError(f"vehicle: an {what} occurs twice")
        return self

    def versions(self) -> dict[int, ImageVersion]:
        """Return what the vehicle runs after the update, by image number."""
        return {each.image_number: ImageVersion.parse(each.version) for each in self.vehicle}
