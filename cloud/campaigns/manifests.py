"""Manifests in the database: what goes into a job's manifest, whether the one there is still right, and its next version.

Decides which base a patch starts from (the image the ECU was last reported to run), whether a patch stands in the manifest,
what it promises of the versions in the vehicle, and when a manifest is made anew: while its job is CREATED, if what the
vehicle's ECUs run has changed since, or if it has expired and the operator set no lifetime of his own. Signing is the
Director's. All functions work inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.job_rules import TransferPolicy, patch_is_kept
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, Offer, VehicleFacts, versions_after
from otabench.cloud.errors import NotReady
from otabench.cloud.store import image_repository as images
from otabench.cloud.store.schema import CampaignImageRow, CampaignRow, ImageRow, JobRow, ManifestRow, PatchRow
from otabench.cloud.trust.director import Director, SignedManifest, TargetEntry
from otabench.proto.image_format import ImageVersion
from otabench.proto.uptane import (
    EncryptionCustom,
    ManifestCustom,
    PatchCustom,
    RequirementCustom,
    TargetCustom,
    VehicleEcuCustom,
)

DEFAULT_LIFETIME_S: Final = 86_400.0


@dataclass(frozen=True)
class PatchNeed:
    """A patch that a manifest would like to have."""

    ecu: str
    hardware_id: str
    running_version: str
    target: ImageRow
    base: ImageRow | None
    """None: the repository does not hold the image that the ECU runs."""


@dataclass(frozen=True)
class EncryptionNeed:
    """An image or patch that a manifest needs encrypted for one ECU."""

    plain_sha256: str
    plain_path: str
    location: str
    """Where the plain file lies in the store."""
    public_key: str


def offers(session: Session, campaign_id: str) -> list[Offer]:
    """The campaign's images, for the policy."""
    encrypt = session.get_one(CampaignRow, campaign_id).encrypt
    return [
        Offer(
            hardware_id=image.hardware_id,
            version=ImageVersion.parse(image.version),
            security_counter=image.security_counter,
            is_encrypted=encrypt,
            dependencies=images.dependencies(image),
        )
        for _, image in _campaign_images(session, campaign_id)
    ]


def versions_are_known(vehicle: VehicleFacts, wanted: Sequence[Offer]) -> bool:
    """Whether the inventory knows what every ECU concerned runs."""
    return all(_ecu_for(vehicle, offer.hardware_id).software_version for offer in wanted)


def patch_needs(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[PatchNeed]:
    """The patches that this vehicle could use; none where the campaign wants full images."""
    if TransferPolicy(session.get_one(CampaignRow, campaign_id).transfer) is TransferPolicy.FULL:
        return []
    needs = []
    for row, target in _campaign_images(session, campaign_id):
        ecu = _ecu_for(vehicle, row.hardware_id)
        base = _base_image(session, row, ecu)
        needs.append(
            PatchNeed(
                ecu=ecu.ecu,
                hardware_id=row.hardware_id,
                running_version=ecu.software_version,
                target=target,
                base=base,
            )
        )
    return needs


def encryption_needs(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[EncryptionNeed]:
    """What has yet to be encrypted for this vehicle's ECUs, once its patches are made; nothing where the campaign is plain."""
    campaign = session.get_one(CampaignRow, campaign_id)
    if not campaign.encrypt:
        return []
    needs = []
    for row, image in _campaign_images(session, campaign_id):
        ecu = _ecu_for(vehicle, row.hardware_id)
        found = _kept_patch(session, row, image, ecu, TransferPolicy(campaign.transfer))
        files: list[ImageRow | PatchRow] = [image, found[0]] if found else [image]
        for file in files:
            if images.encrypted(session, plain_sha256=file.sha256, public_key=ecu.public_key) is None:
                where = images.location(file.path, is_public=file.is_public)
                needs.append(EncryptionNeed(file.sha256, file.path, where, ecu.public_key))
    return needs


def is_current(session: Session, job: JobRow, vehicle: VehicleFacts, *, now: float) -> bool:
    """Whether the job has a manifest that may be offered to the vehicle as it is now."""
    manifest = latest(session, job)
    if manifest is None:
        return False
    campaign = session.get_one(CampaignRow, job.campaign_id)
    if manifest.expires_at <= now and campaign.manifest_lifetime_s == 0:
        return False
    return bool(manifest.made_for == _made_for(vehicle))


def latest(session: Session, job: JobRow) -> ManifestRow | None:
    """The newest manifest of the job."""
    return session.scalars(
        select(ManifestRow).where(ManifestRow.job_id == job.job_id).order_by(ManifestRow.version.desc())
    ).first()


def sign(session: Session, job: JobRow, vehicle: VehicleFacts, director: Director, *, now: float) -> SignedManifest:
    """Makes the vehicle's next manifest version for this job, with the patches that are there, and keeps it.

    Raises:
        NotReady: the campaign encrypts, and an image is not encrypted for its ECU yet.
    """
    campaign = session.get_one(CampaignRow, job.campaign_id)
    newest = session.scalar(select(func.max(ManifestRow.version)).where(ManifestRow.vin == job.vin)) or 0
    signed = director.sign(
        version=newest + 1,
        expires_at=now + (campaign.manifest_lifetime_s or DEFAULT_LIFETIME_S),
        custom=ManifestCustom(
            vin=job.vin,
            job_id=job.job_id,
            campaign_id=job.campaign_id,
            campaign_name=campaign.name,
            release_notes=campaign.release_notes,
            approval_timeout_s=campaign.approval_timeout_s,
            vehicle=_vehicle(vehicle, offers(session, job.campaign_id)),
        ),
        targets=[
            _target(session, row, image, _ecu_for(vehicle, row.hardware_id), campaign)
            for row, image in _campaign_images(session, job.campaign_id)
        ],
    )
    session.add(
        ManifestRow(
            vin=job.vin,
            version=signed.version,
            job_id=job.job_id,
            made_for=_made_for(vehicle),
            expires_at=signed.expires_at,
            timestamp=signed.timestamp,
            snapshot=signed.snapshot,
            targets=signed.targets,
        )
    )
    session.flush()
    return signed


def _target(
    session: Session, row: CampaignImageRow, image: ImageRow, ecu: EcuFacts, campaign: CampaignRow
) -> TargetEntry:
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
                for each in images.dependencies(image)
            ),
            patch=_patch(session, row, image, ecu, campaign),
            encryption=encryption,
        ),
    )


def _patch(
    session: Session, row: CampaignImageRow, image: ImageRow, ecu: EcuFacts, campaign: CampaignRow
) -> PatchCustom | None:
    found = _kept_patch(session, row, image, ecu, TransferPolicy(campaign.transfer))
    if found is None:
        return None
    patch, base = found
    encryption = _encryption(session, patch, ecu) if campaign.encrypt else None
    if encryption is None if campaign.encrypt else not patch.is_public:
        return None
    return PatchCustom(
        path=patch.path,
        length=patch.length,
        sha256=patch.sha256,
        base_version=base.version,
        base_sha256=base.sha256,
        base_length=base.length,
        encryption=encryption,
    )


def _kept_patch(
    session: Session, row: CampaignImageRow, image: ImageRow, ecu: EcuFacts, transfer: TransferPolicy
) -> tuple[PatchRow, ImageRow] | None:
    """The patch that this ECU can use, with its base, if it was made and pays."""
    base = _base_image(session, row, ecu)
    if base is None:
        return None
    patch = images.patch(session, base_sha256=base.sha256, target_sha256=image.sha256)
    if patch is None or not patch.path:
        return None
    if not patch_is_kept(transfer, patch_bytes=patch.length, image_bytes=image.length):
        return None
    return patch, base


def _encryption(session: Session, file: ImageRow | PatchRow, ecu: EcuFacts) -> EncryptionCustom | None:
    row = images.encrypted(session, plain_sha256=file.sha256, public_key=ecu.public_key)
    if row is None:
        return None
    return EncryptionCustom(path=row.path, length=row.length, sha256=row.sha256, public_key=row.public_key)


def _base_image(session: Session, row: CampaignImageRow, ecu: EcuFacts) -> ImageRow | None:
    """The image the ECU runs: the one that came with the campaign if its version fits, else the repository's."""
    if not ecu.software_version:
        return None
    given = images.image(session, row.base_sha256) if row.base_sha256 else None
    if given is not None and given.version == ecu.software_version:
        return given
    return images.image_of_version(session, hardware_id=row.hardware_id, version=ecu.software_version)


def _vehicle(vehicle: VehicleFacts, wanted: Sequence[Offer]) -> tuple[VehicleEcuCustom, ...]:
    """What is promised to each ECU of all others."""
    after = versions_after(vehicle, wanted)
    return tuple(
        VehicleEcuCustom(
            image_number=ecu.image_number, ecu=ecu.ecu, ecu_serial=ecu.serial, version=str(after[ecu.image_number])
        )
        for ecu in vehicle.ecus
        if ecu.image_number in after
    )


def _made_for(vehicle: VehicleFacts) -> str:
    return json.dumps({ecu.serial: [ecu.image_number, ecu.software_version] for ecu in vehicle.ecus}, sort_keys=True)


def _campaign_images(session: Session, campaign_id: str) -> list[tuple[CampaignImageRow, ImageRow]]:
    rows = session.execute(
        select(CampaignImageRow, ImageRow)
        .join(ImageRow, ImageRow.sha256 == CampaignImageRow.image_sha256)
        .where(CampaignImageRow.campaign_id == campaign_id)
        .order_by(CampaignImageRow.hardware_id)
    )
    return [(row, image) for row, image in rows]


def _ecu_for(vehicle: VehicleFacts, hardware_id: str) -> EcuFacts:
    return next(ecu for ecu in vehicle.ecus if ecu.hardware_id == hardware_id)
