"""Which image of a campaign is for which ECU of a vehicle, and which artifacts that ECU can use: a patch, an encrypted file.

``EcuImage`` is what most steps of a manifest's making work with. Nothing is made here: ``artifact_maker`` makes patches and encrypted
files, ``manifests`` names them in the vehicle's manifest. Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns.transfer_policy import TransferPolicy, patch_is_kept
from otabench.cloud.campaigns.vehicle_rules import EcuFacts, Offer, VehicleFacts
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.schema import CampaignImageRow, CampaignRow, EncryptedRow, ImageRow, PatchRow
from otabench.proto.image_format import ImageVersion


@dataclass(frozen=True)
class EcuImage:
    """A campaign's image for one ECU of a vehicle."""

    ecu: EcuFacts
    image: ImageRow
    base: ImageRow | None
    """The image that the ECU runs, from which a patch starts; None if the repository does not hold it."""

    def describe_missing_base(self) -> str:
        """Return why no patch can be made, and the remedy."""
        return (
            f"a patch is demanded for {self.image.hardware_id}, but the cloud does not hold the image of version "
            f"{self.ecu.software_version or '(not reported yet)'} that {self.ecu.ecu} runs: give it as base_image"
        )


@dataclass(frozen=True)
class EncryptionNeed:
    """An image or patch that has to be encrypted for one ECU before a manifest can name it."""

    plain_sha256: str
    plain_path: str
    location: str
    """Where the plain file is in the artifact store."""
    public_key: str


def load_offers(session: Session, campaign_id: str) -> list[Offer]:
    """Return the campaign's images as ``vehicle_rules`` judges them."""
    encrypt = session.get_one(CampaignRow, campaign_id).encrypt
    return [
        Offer(
            hardware_id=image.hardware_id,
            version=ImageVersion.parse(image.version),
            security_counter=image.security_counter,
            is_encrypted=encrypt,
            dependencies=repository.read_dependencies(image),
        )
        for _, image in _rows(session, campaign_id)
    ]


def versions_are_known(vehicle: VehicleFacts, wanted: Sequence[Offer]) -> bool:
    """Return whether every ECU that gets an image has reported what it runs."""
    return all(vehicle.ecu_for(offer.hardware_id).software_version for offer in wanted)


def load_ecu_images(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[EcuImage]:
    """Return the campaign's images for this vehicle, which has passed ``vehicle_rules.judge_fit`` for them."""
    found = []
    for row, image in _rows(session, campaign_id):
        ecu = vehicle.ecu_for(row.hardware_id)
        found.append(EcuImage(ecu=ecu, image=image, base=_base(session, row, ecu)))
    return found


def find_kept_patch(session: Session, target: EcuImage, policy: TransferPolicy) -> PatchRow | None:
    """Return the patch to the image, if it was made and the policy keeps it."""
    if target.base is None:
        return None
    patch = repository.find_patch(session, base_sha256=target.base.sha256, target_sha256=target.image.sha256)
    if patch is None or not patch.path:
        return None
    is_kept = patch_is_kept(policy, patch_bytes=patch.length, image_bytes=target.image.length)
    return patch if is_kept else None


def find_encrypted(session: Session, file: ImageRow | PatchRow, ecu: EcuFacts) -> EncryptedRow | None:
    """Return the file encrypted for that ECU, if that was done."""
    return repository.find_encrypted(session, plain_sha256=file.sha256, public_key=ecu.public_key)


def encryption_needs(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[EncryptionNeed]:
    """Return what is still to be encrypted for this vehicle, once its patches are made. Empty if the campaign is plain."""
    campaign = session.get_one(CampaignRow, campaign_id)
    if not campaign.encrypt:
        return []
    needs = []
    for target in load_ecu_images(session, campaign_id, vehicle):
        patch = find_kept_patch(session, target, TransferPolicy(campaign.transfer))
        files: list[ImageRow | PatchRow] = [target.image] if patch is None else [target.image, patch]
        for file in files:
            if find_encrypted(session, file, target.ecu) is None:
                location = repository.store_path(file.path, is_public=file.is_public)
                needs.append(EncryptionNeed(file.sha256, file.path, location, target.ecu.public_key))
    return needs


def _base(session: Session, row: CampaignImageRow, ecu: EcuFacts) -> ImageRow | None:
    """Return the image that the ECU runs: the campaign's base image if its version fits, else the repository's."""
    if not ecu.software_version:
        return None
    # Two images may have the same version. That is safe: a patch names its base's SHA-256, which is compared before it is used.
    given = repository.find_image(session, row.base_sha256) if row.base_sha256 else None
    if given is not None and given.version == ecu.software_version:
        return given
    return repository.find_image_of_version(session, hardware_id=row.hardware_id, version=ecu.software_version)


def _rows(session: Session, campaign_id: str) -> list[tuple[CampaignImageRow, ImageRow]]:
    rows = session.execute(
        select(CampaignImageRow, ImageRow)
        .join(ImageRow, ImageRow.sha256 == CampaignImageRow.image_sha256)
        .where(CampaignImageRow.campaign_id == campaign_id)
        .order_by(CampaignImageRow.hardware_id)  # a fixed order, so that the same facts give the same manifest
    )
    return [(row, image) for row, image in rows]
