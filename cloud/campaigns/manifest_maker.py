"""Make the manifest of a job, together with its patches and encrypted files.

This happens when a campaign is created, if the inventory holds what the vehicle runs; and when a vehicle checks in and its manifest no
longer fits. Several transactions are involved, and anything may change between them. ``manifests.sign`` uses the facts at the time of
signing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import ecu_images, inventory, jobs, manifests, snapshots
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.ecu_images import CampaignImages, EcuImage, EncryptionNeed
from otabench.cloud.campaigns.manifests import PresentKeys
from otabench.cloud.campaigns.snapshots import OpenJob
from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow
from otabench.cloud.trust.director import Director, SignedManifest
from otabench.proto.job_states import JobState


class ManifestMaker:
    """The making of manifests. A control plane has one instance, whose methods run on the event loop."""

    def __init__(
        self, *, database: Database, artifacts: ArtifactMaker, director: Director, announcer: Announcer
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._director = director
        self._keys = PresentKeys(director)
        self._announcer = announcer
        self._making: dict[str, asyncio.Task[None]] = {}

    async def prepare(self, job_id: str, *, vin: str, only_if_versions_known: bool = False) -> None:
        """Make the job's manifest, unless it has one that fits. Concurrent calls for one job share one task.

        Args:
            job_id: a job in CREATED.
            vin: its vehicle.
            only_if_versions_known: do nothing if the inventory does not hold what the vehicle runs.

        Raises:
            NotAllowed: the campaign demands a patch that cannot be made.
            NotReady: database or store does not answer.
        """
        task = self._making.get(job_id)
        if task is None:
            task = asyncio.create_task(self._prepare(job_id, vin, only_if_versions_known))
            self._making[job_id] = task
            task.add_done_callback(lambda _: self._making.pop(job_id, None))
        # The shield keeps the task alive for other callers if this vehicle hangs up.
        await asyncio.shield(task)

    async def prepare_all(self, campaign_id: str, jobs_of: Sequence[tuple[str, str]]) -> None:
        """Make the manifests of new jobs, as ``prepare`` does with ``only_if_versions_known``, with a fraction of the statements.

        Args:
            campaign_id: the campaign of all of them.
            jobs_of: jobs and their vehicles, so few that one transaction for them keeps nobody waiting.

        Raises:
            NotAllowed: the campaign demands a patch that cannot be made.
            NotReady: database or store does not answer.
        """
        plan = await self._database.read(lambda session: _plan(session, campaign_id, jobs_of, keys=self._keys))
        if plan.is_encrypted:
            # Each ECU has files of its own to be made, which takes longer than all statements.
            for job_id, vin in jobs_of:
                await self.prepare(job_id, vin=vin, only_if_versions_known=True)
            return
        for target in plan.patches:
            await self._artifacts.make_patch(target, plan.policy, is_public=True)
        for job, signed in await self._database.run(lambda session: self._sign_all(session, campaign_id, jobs_of)):
            self._announcer.manifest_signed(signed, vin=job.vin, job_id=job.job_id, patches=signed.patches)

    def close(self) -> None:
        """Cancel running tasks. Their manifests are made again when they are needed."""
        for task in self._making.values():
            task.cancel()

    async def _prepare(self, job_id: str, vin: str, only_if_versions_known: bool) -> None:
        missing = await self._database.run(
            lambda session: self._missing(session, job_id, vin, only_if_versions_known=only_if_versions_known)
        )
        if missing is None:
            return
        campaign, targets = missing
        policy = TransferPolicy(campaign.transfer)
        if policy is not TransferPolicy.FULL:
            for target in targets:
                await self._artifacts.make_patch(target, policy, is_public=not campaign.encrypt)
        for need in await self._database.run(lambda session: _encryption_needs(session, campaign.campaign_id, vin)):
            await self._artifacts.encrypt(need)
        signed = await self._database.run(lambda session: self._sign(session, job_id, vin))
        if signed is None:
            return
        self._announcer.manifest_signed(signed, vin=vin, job_id=job_id, patches=signed.patches)

    def _missing(
        self, session: Session, job_id: str, vin: str, *, only_if_versions_known: bool
    ) -> tuple[CampaignRow, list[EcuImage]] | None:
        """Return the campaign and the images of the manifest to make, or None if no manifest is needed."""
        job = jobs.load_job(session, vin=vin, job_id=job_id)
        vehicle = inventory.load_vehicle(session, vin)
        assert vehicle is not None  # the foreign key guarantees the vehicle of a job
        # After CREATED the vehicle works with the manifest that it has accepted. A new manifest would need a new job.
        if job.state != JobState.CREATED or manifests.is_current(
            session, job, vehicle, is_signed_now=self._director.has_signed_with_present_keys, now=time.time()
        ):
            return None
        offers = ecu_images.load_offers(session, job.campaign_id)
        if only_if_versions_known and not ecu_images.versions_are_known(vehicle, offers):
            return None
        campaign = session.get_one(CampaignRow, job.campaign_id)
        return campaign, ecu_images.load_ecu_images(session, job.campaign_id, vehicle)

    def _sign(self, session: Session, job_id: str, vin: str) -> SignedManifest | None:
        # The lock also orders the versions of the vehicle's manifests.
        jobs.lock_vehicles(session, [vin])
        job = jobs.load_job(session, vin=vin, job_id=job_id)
        vehicle = inventory.load_vehicle(session, vin)
        if job.state != JobState.CREATED or vehicle is None:
            # The job was canceled while its patches were made.
            return None
        images = CampaignImages(session, job.campaign_id)
        version = manifests.newest_versions(session, [vin]).get(vin, 0) + 1
        return manifests.sign(session, job, vehicle, self._director, images=images, version=version, now=time.time())

    def _sign_all(
        self, session: Session, campaign_id: str, jobs_of: Sequence[tuple[str, str]]
    ) -> list[tuple[OpenJob, SignedManifest]]:
        vins = [vin for _, vin in jobs_of]
        jobs.lock_vehicles(session, vins)
        images = CampaignImages(session, campaign_id)
        newest = manifests.newest_versions(session, vins)
        now = time.time()
        made = []
        for job, vehicle in _without_manifest(session, images, jobs_of, keys=self._keys, now=now):
            version = newest.get(job.vin, 0) + 1
            signed = manifests.sign(session, job, vehicle, self._director, images=images, version=version, now=now)
            made.append((job, signed))
        return made


@dataclass(frozen=True)
class _Plan:
    """The files to make before the manifests of some jobs: patches, each once, or encrypted files."""

    policy: TransferPolicy
    is_encrypted: bool
    patches: Sequence[EcuImage]


def _plan(session: Session, campaign_id: str, jobs_of: Sequence[tuple[str, str]], *, keys: PresentKeys) -> _Plan:
    images = CampaignImages(session, campaign_id)
    policy = TransferPolicy(images.campaign.transfer)
    patches: dict[tuple[str, str], EcuImage] = {}
    if policy is not TransferPolicy.FULL and not images.campaign.encrypt:
        for _, vehicle in _without_manifest(session, images, jobs_of, keys=keys, now=time.time()):
            for target in images.of_vehicle(vehicle):
                # Of those without a base one is kept for each ECU's kind: a campaign that demands patches is refused by it.
                base = target.base.image_id if target.base else ""
                patches.setdefault((base, target.image.image_id), target)
    return _Plan(policy, images.campaign.encrypt, list(patches.values()))


def _without_manifest(
    session: Session, images: CampaignImages, jobs_of: Sequence[tuple[str, str]], *, keys: PresentKeys, now: float
) -> Iterator[tuple[OpenJob, VehicleFacts]]:
    """Yield the jobs that are still CREATED, need a manifest, and whose vehicles have reported what they run."""
    found = snapshots.load(session.connection(), [vin for _, vin in jobs_of])
    for job_id, vin in jobs_of:
        snapshot = found.get(vin)
        job = snapshot.job if snapshot else None
        if snapshot is None or job is None or job.job_id != job_id or job.state != JobState.CREATED:
            continue
        made = snapshot.manifest
        if (
            made
            and manifests.fits(made, snapshot.vehicle, now=now)
            and keys.have_signed(session.connection(), made, root_version=keys.root_version)
        ):
            continue
        if ecu_images.versions_are_known(snapshot.vehicle, images.offers):
            yield job, snapshot.vehicle


def _encryption_needs(session: Session, campaign_id: str, vin: str) -> list[EncryptionNeed]:
    vehicle = inventory.load_vehicle(session, vin)
    return ecu_images.encryption_needs(session, campaign_id, vehicle) if vehicle is not None else []
