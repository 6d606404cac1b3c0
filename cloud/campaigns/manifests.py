"""Manifests in the database: find a job's latest manifest, check whether it is still valid, and sign the next one.

* While a job is CREATED, its manifest is replaced if the vehicle's ECUs run something else than when it was made, or if the Director has
  other keys. An expired manifest is replaced, too, unless the operator has set a lifetime: then the job is meant to end with it.
* Versions are counted per vehicle, not per job, because a vehicle refuses metadata with a lower version than before (TUF, rollback attack).

Every function works inside the caller's transaction. Signing is in ``trust.director``; ``artifact_maker`` makes the artifacts of a
manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import ecu_images
from otabench.cloud.campaigns.ecu_images import CampaignImages, EcuImage
from otabench.cloud.campaigns.snapshots import Manifest, OpenJob
from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, Offer, VehicleFacts, versions_after
from otabench.cloud.errors import NotReady
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.schema import Base, CampaignRow, ImageRow, JobRow, ManifestRow, PatchRow
from otabench.cloud.trust.director import Director, SignedManifest, TargetEntry
from otabench.proto.conditions import DEFAULT_LIMIT_S
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.uptane import (
    EncryptionCustom,
    ManifestCustom,
    PatchCustom,
    RequirementCustom,
    TargetCustom,
    VehicleEcuCustom,
)

DEFAULT_LIFETIME_S: Final = 86_400.0
_INSERT: Final = insert(Base.metadata.tables[ManifestRow.__tablename__])
_MAX_REMEMBERED: Final = 100_000
IsSignedNow = Callable[[Mapping[str, bytes]], bool]


def is_current(session: Session, job: JobRow, vehicle: VehicleFacts, *, is_signed_now: IsSignedNow, now: float) -> bool:
    """Return whether the job has a manifest that fits the vehicle's present state.

    Args:
        session: the caller's transaction.
        job: of the manifest.
        vehicle: its present state.
        is_signed_now: whether the Director's present keys have signed these files, by role.
        now: what expiry is judged by.
    """
    manifest = latest_manifest(session, job)
    if manifest is None:
        return False
    campaign = session.get_one(CampaignRow, job.campaign_id)
    # If the operator has set a lifetime, an expired manifest is not replaced. The vehicle refuses it, and the job ends.
    lasts = campaign.manifest_lifetime_s != 0
    found = Manifest(job.vin, manifest.version, manifest.made_for, manifest.expires_at, is_replaced=not lasts)
    return fits(found, vehicle, now=now) and is_signed_now(by_role(manifest))


def fits(manifest: Manifest, vehicle: VehicleFacts, *, now: float) -> bool:
    """Return whether a manifest fits the vehicle's present state, as ``is_current`` does; ``PresentKeys`` looks at its signatures."""
    if manifest.expires_at <= now and manifest.is_replaced:
        return False
    return manifest.made_for == _made_for(vehicle)


class PresentKeys:
    """The answer to whether the Director's present keys have signed a stored manifest. It is cached, because a stored manifest never
    changes."""

    def __init__(self, director: Director) -> None:
        self._director = director
        self._root_version = 0
        self._signed: dict[tuple[str, int], bool] = {}

    @property
    def root_version(self) -> int:
        """The version of the Root that states them. It is a look at the key folder: once for many manifests is enough."""
        return self._director.root_version

    def have_signed(self, connection: Connection, manifest: Manifest, *, root_version: int) -> bool:
        """Return whether the keys of that Root, which is the present one, have signed this manifest."""
        if root_version != self._root_version or len(self._signed) >= _MAX_REMEMBERED:
            self._root_version, self._signed = root_version, {}
        signed = self._signed
        key = (manifest.vin, manifest.version)
        if key not in signed:
            files = select(ManifestRow.timestamp, ManifestRow.snapshot, ManifestRow.targets)
            stored = files.where(ManifestRow.vin == manifest.vin, ManifestRow.version == manifest.version)
            row = connection.execute(stored).one()
            signed[key] = self._director.has_signed_with_present_keys(dict(row._mapping))
        return signed[key]


def by_role(manifest: ManifestRow) -> dict[str, bytes]:
    """Return the manifest's files by role."""
    return {"timestamp": manifest.timestamp, "snapshot": manifest.snapshot, "targets": manifest.targets}


def latest_manifest(session: Session, job: JobRow) -> ManifestRow | None:
    """Return the newest manifest of the job, or None."""
    return session.scalars(
        select(ManifestRow).where(ManifestRow.job_id == job.job_id).order_by(ManifestRow.version.desc())
    ).first()


def newest_versions(session: Session, vins: Sequence[str]) -> Mapping[str, int]:
    """Return the version of each vehicle's newest manifest. A vehicle without one is left out."""
    newest = select(ManifestRow.vin, func.max(ManifestRow.version)).where(ManifestRow.vin.in_(vins))
    return {vin: version for vin, version in session.execute(newest.group_by(ManifestRow.vin))}  # noqa: C416 (to mypy, rows are not pairs)


def sign(
    session: Session,
    job: JobRow | OpenJob,
    vehicle: VehicleFacts,
    director: Director,
    *,
    images: CampaignImages,
    version: int,
    now: float,
) -> SignedManifest:
    """Sign and store the vehicle's next manifest for this job. It contains the patches that have been made so far.

    Args:
        session: the caller's transaction, which holds the vehicle's lock.
        job: the job.
        vehicle: its vehicle.
        director: the signer.
        images: of the job's campaign.
        version: the next one of this vehicle. The primary key refuses one that is used twice.
        now: the time.

    Raises:
        NotReady: the campaign is encrypted, and an image is not encrypted for its ECU yet.
    """
    campaign = images.campaign
    signed = director.sign(
        version=version,
        expires_at=now + (campaign.manifest_lifetime_s or DEFAULT_LIFETIME_S),
        custom=ManifestCustom(
            vin=job.vin,
            job_id=job.job_id,
            campaign_id=job.campaign_id,
            campaign_name=campaign.name,
            release_notes=campaign.release_notes,
            approval_timeout_s=campaign.approval_timeout_s,
            conditions=tuple(json.loads(campaign.conditions)),
            texts={language: DriverTexts(**each) for language, each in json.loads(campaign.texts).items()},
            conditions_limit_s=campaign.conditions_limit_s or DEFAULT_LIMIT_S,
            driver=DriverRules.model_validate_json(campaign.driver_rules),
            vehicle=_vehicle_after(vehicle, images.offers),
        ),
        targets=[_target(session, target, campaign) for target in images.of_vehicle(vehicle)],
    )
    # Of the table instead of the class, whose statement would take as long as the signatures.
    row = {
        "vin": job.vin,
        "version": signed.version,
        "job_id": job.job_id,
        "made_for": _made_for(vehicle),
        "expires_at": signed.expires_at,
        "timestamp": signed.timestamp,
        "snapshot": signed.snapshot,
        "targets": signed.targets,
    }
    session.connection().execute(_INSERT, row)
    return signed


def _target(session: Session, target: EcuImage, campaign: CampaignRow) -> TargetEntry:
    image, ecu = target.image, target.ecu
    encryption = _encryption(session, image, ecu) if campaign.encrypt else None
    if campaign.encrypt and encryption is None:
        raise NotReady(f"{image.path} is not encrypted for {ecu.ecu} yet: try again")
    return TargetEntry(
        path=image.path,
        length=image.length,
        sha256=image.sha256,
        custom=TargetCustom(
            ecu_serial=ecu.serial,
            hardware_id=image.hardware_id,
            version=image.version,
            release_counter=image.security_counter,
            requires=tuple(
                RequirementCustom(image_number=each.image_number, version=str(each.version))
                for each in repository.read_dependencies(image)
            ),
            patch=_patch(session, target, campaign),
            encryption=encryption,
            payload=repository.read_payload(image),
            rxswin=image.rxswin,
        ),
    )


def _patch(session: Session, target: EcuImage, campaign: CampaignRow) -> PatchCustom | None:
    patch = ecu_images.find_kept_patch(session, target, TransferPolicy(campaign.transfer))
    if patch is None or target.base is None:
        return None
    encryption = _encryption(session, patch, target.ecu) if campaign.encrypt else None
    # Leave the patch out if the vehicle could not download it: it is not encrypted yet, or not served. Then the full image is sent.
    can_be_fetched = encryption is not None if campaign.encrypt else patch.is_public
    if not can_be_fetched:
        return None
    return PatchCustom(
        path=patch.path,
        length=patch.length,
        sha256=patch.sha256,
        base_version=target.base.version,
        base_sha256=target.base.sha256,
        base_length=target.base.length,
        encryption=encryption,
    )


def _encryption(session: Session, file: ImageRow | PatchRow, ecu: EcuFacts) -> EncryptionCustom | None:
    row = ecu_images.find_encrypted(session, file, ecu)
    if row is None:
        return None
    return EncryptionCustom(path=row.path, length=row.length, sha256=row.sha256, public_key=row.public_key)


def _vehicle_after(vehicle: VehicleFacts, offers: Sequence[Offer]) -> tuple[VehicleEcuCustom, ...]:
    """Return what every ECU runs after the update. Each ECU judges its image's dependencies by this."""
    after = versions_after(vehicle, offers)
    return tuple(
        VehicleEcuCustom(
            image_number=ecu.image_number, ecu=ecu.ecu, ecu_serial=ecu.serial, version=str(after[ecu.image_number])
        )
        for ecu in vehicle.ecus
        if ecu.image_number in after
    )


def _made_for(vehicle: VehicleFacts) -> str:
    """Return the facts of the vehicle that its manifest depends on, as a text for comparisons."""
    # The key is the serial number: a replaced ECU may run the same version, but its manifest must contain its own serial number.
    return json.dumps({ecu.serial: [ecu.image_number, ecu.software_version] for ecu in vehicle.ecus}, sort_keys=True)
