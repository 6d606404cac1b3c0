"""Match a campaign's images with the ECUs of a vehicle, and find the artifacts for each ECU: a patch, an encrypted file.

Every function works inside the caller's transaction. ``artifact_maker`` makes patches and encrypted files, and ``manifests`` adds them to
the vehicle's manifest.
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


@dataclass(frozen=True)
class EcuImage:
    """A campaign's image for one ECU of a vehicle."""

    ecu: EcuFacts
    image: ImageRow
    base: ImageRow | None
    """The image that the ECU runs, as the base of a patch; None if the repository does not hold it, or the ECU does not take patches."""

    def describe_missing_base(self) -> str:
        """Return why a patch cannot be made, and the remedy."""
        if not self.ecu.takes_patches:
            return f"a patch is demanded for {self.image.hardware_id}, but {self.ecu.ecu} does not take patches: send the full image"
        return (
            f"a patch is demanded for {self.image.hardware_id}, but the cloud does not hold the image of version "
            f"{self.ecu.software_version or '(not reported yet)'} that {self.ecu.ecu} runs: give it as base_image"
        )


@dataclass(frozen=True)
class EncryptionNeed:
    """An image or patch that must be encrypted for one ECU before a manifest can contain it."""

    plain_sha256: str
    plain_path: str
    is_public: bool
    """Which store the plain file is in."""
    public_key: str


class CampaignImages:
    """The images of one campaign, for its vehicles. What many vehicles have in common is read once."""

    def __init__(self, session: Session, campaign_id: str) -> None:
        self._session = session
        self.campaign = session.get_one(CampaignRow, campaign_id)
        self._rows = _rows(session, campaign_id)
        self._bases: dict[tuple[str, str], ImageRow | None] = {}
        self.offers: Sequence[Offer] = [self._offer(image) for _, image in self._rows]
        """The facts of the images that ``vehicle_rules`` judges."""

    def of_vehicle(self, vehicle: VehicleFacts) -> list[EcuImage]:
        """Return the image for each ECU. The vehicle must have passed ``vehicle_rules.judge_fit``."""
        images = []
        for row, image in self._rows:
            ecu = vehicle.ecu_for(row.hardware_id)
            images.append(EcuImage(ecu=ecu, image=image, base=self._base(row, ecu)))
        return images

    def _offer(self, image: ImageRow) -> Offer:
        return Offer(
            hardware_id=image.hardware_id,
            version=image.version,
            security_counter=image.security_counter,
            is_encrypted=self.campaign.encrypt,
            dependencies=repository.read_dependencies(image),
            payload=repository.read_payload(image),
            rxswin=image.rxswin,
        )

    def _base(self, row: CampaignImageRow, ecu: EcuFacts) -> ImageRow | None:
        """Return the image that the ECU runs: the campaign's base image if its version fits, otherwise the repository's."""
        if not ecu.software_version or not ecu.takes_patches:
            return None
        key = (row.hardware_id, ecu.software_version)
        if key not in self._bases:
            # Two images may have the same version. That is safe, because the ECU compares the base's SHA-256 before it applies a patch.
            given = repository.find_image(self._session, row.base_sha256) if row.base_sha256 else None
            is_running = given is not None and given.version == ecu.software_version
            self._bases[key] = (
                given
                if is_running
                else repository.find_image_of_version(
                    self._session, hardware_id=row.hardware_id, version=ecu.software_version
                )
            )
        return self._bases[key]


def load_offers(session: Session, campaign_id: str) -> Sequence[Offer]:
    """Return the facts of the campaign's images that ``vehicle_rules`` judges."""
    return CampaignImages(session, campaign_id).offers


def versions_are_known(vehicle: VehicleFacts, offers: Sequence[Offer]) -> bool:
    """Return whether every ECU that gets an image has reported what it runs."""
    return all(vehicle.ecu_for(offer.hardware_id).software_version for offer in offers)


def load_ecu_images(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[EcuImage]:
    """Return the campaign's image for each ECU. The vehicle must have passed ``vehicle_rules.judge_fit``."""
    return CampaignImages(session, campaign_id).of_vehicle(vehicle)


def find_kept_patch(session: Session, target: EcuImage, policy: TransferPolicy) -> PatchRow | None:
    """Return the patch for the image, or None if it was not made or the policy does not keep it."""
    if target.base is None or policy is TransferPolicy.FULL:
        return None
    patch = repository.find_patch(session, base_sha256=target.base.sha256, target_sha256=target.image.sha256)
    if patch is None or not patch.path:
        return None
    is_kept = patch_is_kept(policy, patch_bytes=patch.length, image_bytes=target.image.length)
    return patch if is_kept else None


def find_encrypted(session: Session, file: ImageRow | PatchRow, ecu: EcuFacts) -> EncryptedRow | None:
    """Return the file, encrypted for that ECU, or None if that was not done."""
    return repository.find_encrypted(session, plain_sha256=file.sha256, public_key=ecu.public_key)


def encryption_needs(session: Session, campaign_id: str, vehicle: VehicleFacts) -> list[EncryptionNeed]:
    """Return the files that still must be encrypted for this vehicle. Call this after its patches were made.

    For a plain campaign the list is empty.
    """
    campaign = session.get_one(CampaignRow, campaign_id)
    if not campaign.encrypt:
        return []
    needs = []
    for target in load_ecu_images(session, campaign_id, vehicle):
        patch = find_kept_patch(session, target, TransferPolicy(campaign.transfer))
        files: list[ImageRow | PatchRow] = [target.image] if patch is None else [target.image, patch]
        for file in files:
            if find_encrypted(session, file, target.ecu) is None:
                needs.append(EncryptionNeed(file.sha256, file.path, file.is_public, target.ecu.public_key))
    return needs


def _rows(session: Session, campaign_id: str) -> list[tuple[CampaignImageRow, ImageRow]]:
    rows = session.execute(
        select(CampaignImageRow, ImageRow)
        .join(ImageRow, ImageRow.image_id == CampaignImageRow.image_id)
        .where(CampaignImageRow.campaign_id == campaign_id)
        # In a fixed order, so that the same facts give the same manifest.
        .order_by(CampaignImageRow.hardware_id)
    )
    return [(row, image) for row, image in rows]
