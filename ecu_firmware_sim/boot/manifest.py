"""Partial verification (Uptane): the checks of the Director's Targets before an ECU accepts an image.

Pure: bytes and pinned facts in, this ECU's entry or a refusal out. Rules, in this order:

1. the bytes are TUF Targets metadata, with strings in Unicode Normalization Form C;
2. enough keys of the trusted Root's targets role signed them (``root_chain``);
3. they do not delegate;
4. they are for this vehicle (VIN);
5. they have exactly one target for this ECU's serial number;
6. their version is not below that of the last accepted ones;
7. that target is for this ECU's hardware id.

``programming.verification`` compares what they state about the image (version, release counter, hashes) with the image itself.

An ECU has no clock of its own. Root and Targets must not have expired at the last attested time (8), if there ever was one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC

from pydantic import ValidationError
from tuf.api._payload import TargetFile, Targets
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from otabench.ecu_firmware_sim.boot.image import CheckStatus
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.proto.image_format import ImageVersion
from otabench.proto.normal_form import NotNormalized, require_nfc
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, TargetCustom


class ManifestRefused(Exception):
    """Metadata on which this ECU does not act.

    Attributes:
        status: the result with which check memory answers.
    """

    def __init__(self, status: CheckStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ManifestEntry:
    """This ECU's part of verified Targets."""

    manifest_version: int
    job_id: str
    length: int
    hashes: Mapping[str, str]
    """Hexadecimal digests by algorithm; SHA-256 is among them."""
    custom: TargetCustom
    vehicle_versions: Mapping[int, ImageVersion]
    """The versions that the vehicle will run, by image number."""


def accept(
    data: bytes,
    *,
    root: TrustedRoot,
    vin: str,
    serial: str,
    hardware_id: str,
    last_accepted_version: int,
    attested_time_s: int,
) -> ManifestEntry:
    """Return this ECU's entry in the metadata, to which all rules were applied.

    Args:
        data: what the window holds as Targets.
        root: the newest one.
        vin, serial, hardware_id: this ECU's.
        last_accepted_version: of Targets.
        attested_time_s: seconds since 1970, UTC; 0: the time was never attested.

    Raises:
        ManifestRefused: the rule that the metadata broke, and how.
    """
    refused = CheckStatus.MANIFEST_REFUSED
    targets = _signed_targets(data, root)
    # 4. vehicle
    try:
        vehicle = ManifestCustom.model_validate(targets.unrecognized_fields.get(MANIFEST_CUSTOM_KEY))
        mine = [(target, custom) for target, custom in _customs(targets) if custom.ecu_serial == serial]
    except ValidationError as error:
        raise ManifestRefused(refused, "the profile's custom fields are missing in the metadata") from error
    if vehicle.vin != vin:
        raise ManifestRefused(refused, f"the metadata is for the vehicle {vehicle.vin}, not {vin}")
    # 5. this ECU. More than one target would leave the choice to whoever reads them.
    if len(mine) != 1:
        raise ManifestRefused(refused, f"the metadata has {len(mine)} targets for the serial number {serial}, not one")
    target, custom = mine[0]
    # 6. not older. The same version is allowed: the update that was cut off comes again with it.
    if targets.version < last_accepted_version:
        raise ManifestRefused(
            CheckStatus.MANIFEST_TOO_OLD,
            f"the metadata's version is {targets.version}, version {last_accepted_version} was accepted before",
        )
    # 7. hardware. The class id of the image is checked as well, but the image is not there yet.
    if custom.hardware_id != hardware_id:
        raise ManifestRefused(
            CheckStatus.OTHER_HARDWARE, f"the target is for the hardware {custom.hardware_id}, not {hardware_id}"
        )
    # 8. expiry. It is not certain that it is not later by now, but certain that it is not earlier.
    for what, expires_s in (("Root", root.expires_s), ("metadata", targets.expires.replace(tzinfo=UTC).timestamp())):
        if expires_s <= attested_time_s:
            raise ManifestRefused(CheckStatus.METADATA_EXPIRED, f"the {what} had expired at the attested time")
    if "sha256" not in target.hashes:
        raise ManifestRefused(refused, "the target has no SHA-256")
    return ManifestEntry(targets.version, vehicle.job_id, target.length, target.hashes, custom, vehicle.versions())


def _signed_targets(data: bytes, root: TrustedRoot) -> Targets:
    """Return the Targets after rules 1 to 3: their form, their signatures, and that they delegate to nobody."""
    refused = CheckStatus.MANIFEST_REFUSED
    # 1. TUF Targets
    try:
        require_nfc(data)
        metadata = Metadata[Targets].from_bytes(data)
    except NotNormalized as error:
        raise ManifestRefused(refused, f"in the metadata {error}") from error
    # RecursionError: JSON that is nested deeply enough, which any tester that has unlocked the ECU may send.
    except (DeserializationError, RecursionError) as error:
        raise ManifestRefused(refused, "the metadata window holds no TUF metadata") from error
    targets = metadata.signed
    if not isinstance(targets, Targets):
        raise ManifestRefused(refused, "the metadata is not of the type targets")
    # 2. signatures, with the threshold of the trusted Root. No field is trusted before.
    if not root.targets.have_signed(metadata.signed_bytes, metadata.signatures):
        raise ManifestRefused(refused, f"the metadata is not signed by the targets keys of Root {root.version}")
    # 3. Whoever the Director delegated to could then command the vehicle (Uptane 2.1.0, 5.4.4.6).
    if targets.delegations is not None:
        raise ManifestRefused(refused, "the metadata delegates to others")
    return targets


def announced_job_id(data: bytes) -> str | None:
    """Return the job that the metadata name, without verifying anything: for the trace, never for a decision."""
    try:
        job_id = json.loads(data)["signed"][MANIFEST_CUSTOM_KEY]["job_id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return job_id if isinstance(job_id, str) else None


def _customs(targets: Targets) -> list[tuple[TargetFile, TargetCustom]]:
    return [(target, TargetCustom.model_validate(target.custom)) for target in targets.targets.values()]
