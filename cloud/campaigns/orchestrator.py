"""Campaigns: from the operator's request to jobs, patches and signed manifests.

Steps of a new campaign; whatever stops it before step 3 leaves no campaign:

1. The request is checked in itself, and every image is verified (``trust.firmware``).
2. Every vehicle is judged by the policy, as far as it can be without it.
3. Images go to the artifact store, then campaign and jobs to the database, in one transaction.
4. Where the inventory knows what a vehicle runs, its manifest is made at once, with patches, and all of it encrypted for its
   ECUs if the campaign says so; else at its first check-in.
5. The vehicles are woken.

A process killed between 3 and 5 loses nothing: manifests that are missing are made at check-in, and vehicles poll.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory, jobs, manifests
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.job_rules import TransferPolicy, patch_is_kept
from otabench.cloud.campaigns.manifests import EncryptionNeed, PatchNeed
from otabench.cloud.campaigns.request import GivenImage, check_campaign
from otabench.cloud.campaigns.vehicle_rules import Offer, VehicleFacts, judge_campaign
from otabench.cloud.errors import NotAllowed, NotReady, RequestError, UnknownThing
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.artifact_store import ArtifactStore
from otabench.cloud.store.database import Database
from otabench.cloud.store.deltas import make_patch
from otabench.cloud.store.schema import CampaignImageRow, CampaignRow, ImageRow, JobRow, PatchRow
from otabench.cloud.trust.director import Director, SignedManifest
from otabench.cloud.trust.encryption import encrypt
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Orchestrator:
    """Makes campaigns and manifests. One instance a control plane; its methods run on the event loop."""

    def __init__(
        self,
        *,
        database: Database,
        store: ArtifactStore,
        director: Director,
        image_key: Ed25519PublicKey,
        announcer: Announcer,
    ) -> None:
        self._database = database
        self._store = store
        self._director = director
        self._image_key = image_key
        self._announcer = announcer
        self._maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="maker")
        self._preparing: dict[str, asyncio.Task[None]] = {}

    async def create_campaign(self, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign:
        """Makes a campaign; its id is new every time.

        Raises:
            InvalidRequest: the request or an image is wrong in itself.
            UnknownThing: a vehicle is not known.
            NotAllowed: the policy refuses a vehicle, or a patch is demanded that cannot be made.
            NotReady: database or store do not answer.
        """
        checked = await self._in_maker(lambda: check_campaign(request, key=self._image_key))  # 1
        offers = [image.offer for image in checked.images]
        await self._database.run(lambda session: _judge_all(session, list(request.vins), offers))  # 2
        await self._in_maker(lambda: self._store_images(checked.images))  # 3
        campaign_id = f"campaign-{secrets.token_hex(6)}"
        campaign = await self._database.run(
            lambda session: _insert(session, campaign_id, request, checked.transfer, checked.images, now=time.time())
        )
        self._announcer.campaign_created(campaign, images=[str(image) for image in checked.images])
        for job in campaign.jobs:
            self._announcer.job_moved(
                jobs.Transition(job.job_id, job.vin, campaign_id, before=None, after=JobState.CREATED, reason="")
            )
        for job in campaign.jobs:
            try:
                await self.prepare(job.job_id, vin=job.vin, when_versions_are_known=True)  # 4
            except RequestError as error:
                _log.warning("manifest of %s is not made yet, its check-in will: %s", job.job_id, error)
            self._announcer.update_available(vin=job.vin, job_id=job.job_id, campaign_id=campaign_id)  # 5
        return campaign

    async def prepare(self, job_id: str, *, vin: str, when_versions_are_known: bool = False) -> None:
        """Makes the job's manifest if there is none that fits; callers at the same time share one making.

        Args:
            job_id: a job in CREATED.
            vin: its vehicle.
            when_versions_are_known: do nothing where the inventory does not know what the vehicle runs.

        Raises:
            NotAllowed: a patch is demanded that cannot be made.
            NotReady: database or store do not answer.
        """
        task = self._preparing.get(job_id)
        if task is None:
            task = asyncio.create_task(self._prepare(job_id, vin, when_versions_are_known))
            self._preparing[job_id] = task
            task.add_done_callback(lambda _: self._preparing.pop(job_id, None))
        await asyncio.shield(task)

    async def wake_waiting(self) -> None:
        """Wakes the vehicles whose jobs wait in CREATED: after a start, what woke them before may not have reached them."""

        def look(session: Session) -> list[tuple[str, str, str]]:
            rows = session.scalars(select(JobRow).where(JobRow.state == JobState.CREATED))
            return [(job.vin, job.job_id, job.campaign_id) for job in rows]

        for vin, job_id, campaign_id in await self._database.run(look):
            self._announcer.update_available(vin=vin, job_id=job_id, campaign_id=campaign_id)

    def close(self) -> None:
        """Gives up what is being made; the next start makes it again when it is needed."""
        for task in self._preparing.values():
            task.cancel()
        self._maker.shutdown(wait=False, cancel_futures=True)

    async def _prepare(self, job_id: str, vin: str, when_versions_are_known: bool) -> None:
        def look(session: Session) -> tuple[list[PatchNeed], CampaignRow] | None:
            job = jobs.job_of(session, vin=vin, job_id=job_id)
            vehicle = inventory.facts(session, vin)
            assert vehicle is not None  # a job's vehicle is a foreign key
            known = manifests.versions_are_known(vehicle, manifests.offers(session, job.campaign_id))
            current = manifests.is_current(session, job, vehicle, now=time.time())
            if job.state != JobState.CREATED or current or (when_versions_are_known and not known):
                return None
            campaign = session.get_one(CampaignRow, job.campaign_id)
            return manifests.patch_needs(session, job.campaign_id, vehicle), campaign

        found = await self._database.run(look)
        if found is None:
            return
        needs, campaign = found
        for need in needs:
            await self._make_patch(need, TransferPolicy(campaign.transfer), is_public=not campaign.encrypt)
        await self._encrypt_for(vin, campaign.campaign_id)

        def sign(session: Session) -> SignedManifest | None:
            job = jobs.job_of(session, vin=vin, job_id=job_id)
            vehicle = inventory.facts(session, vin)
            if job.state != JobState.CREATED or vehicle is None:
                return None
            return manifests.sign(session, job, vehicle, self._director, now=time.time())

        signed = await self._database.run(sign)
        if signed is None:
            return
        self._announcer.manifest_signed(signed, vin=vin, job_id=job_id, patches=signed.patches)
        try:
            await self._in_maker(lambda: self._store_metadata(vin, signed))
        except NotReady as error:
            _log.warning("manifest %d of %s is not on the artifact server: %s", signed.version, vin, error)

    async def _encrypt_for(self, vin: str, campaign_id: str) -> None:
        """Encrypts what the vehicle's ECUs need, one file after the other."""

        def look(session: Session) -> list[EncryptionNeed]:
            vehicle = inventory.facts(session, vin)
            return manifests.encryption_needs(session, campaign_id, vehicle) if vehicle is not None else []

        for need in await self._database.run(look):
            await self._encrypt(need)

    async def _encrypt(self, need: EncryptionNeed) -> None:
        def make() -> tuple[str, int, str]:
            made = encrypt(self._store.read(need.location), public_key=bytes.fromhex(need.public_key))
            path = repository.encrypted_path(sha256=made.sha256, plain_path=need.plain_path)
            self._store.put(path, made.content)
            return made.sha256, len(made.content), path

        sha256, length, path = await self._in_maker(make)
        await self._database.run(
            lambda session: repository.add_encrypted(
                session,
                plain_sha256=need.plain_sha256,
                public_key=need.public_key,
                sha256=sha256,
                length=length,
                path=path,
            )
        )

    async def _make_patch(self, need: PatchNeed, transfer: TransferPolicy, *, is_public: bool) -> None:
        target, base = need.target, need.base
        if base is None:
            if transfer is TransferPolicy.DELTA:
                raise NotAllowed(_no_base(need))
            return
        keys = {"base_sha256": base.sha256, "target_sha256": target.sha256}
        row = await self._database.run(lambda session: repository.patch(session, **keys))
        if row is not None and _is_enough(row, transfer, is_public=is_public):
            return

        def make() -> tuple[str, int, str]:
            patch = make_patch(*(self._store.read(_location(image)) for image in (base, target)))
            if not patch_is_kept(transfer, patch_bytes=len(patch.content), image_bytes=target.length):
                return patch.sha256, len(patch.content), ""
            path = repository.patch_path(
                sha256=patch.sha256,
                hardware_id=need.hardware_id,
                base_version=base.version,
                version=target.version,
            )
            self._store.put(repository.location(path, is_public=is_public), patch.content)
            return patch.sha256, len(patch.content), path

        sha256, length, path = await self._in_maker(make)
        await self._database.run(
            lambda session: repository.add_patch(
                session, **keys, sha256=sha256, length=length, path=path, is_public=is_public
            )
        )

    def _store_images(self, images: list[GivenImage]) -> None:
        for image in images:
            for firmware, content in image.files():
                path = repository.location(repository.image_path(firmware), is_public=not image.encrypt)
                self._store.put(path, content)

    def _store_metadata(self, vin: str, signed: SignedManifest) -> None:
        for name, content in signed.files().items():
            self._store.put(f"director/{vin}/{name}", content, replace=True)

    async def _in_maker(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._maker, work)


def _judge_all(session: Session, vins: list[str], offers: list[Offer]) -> list[VehicleFacts]:
    vehicles = []
    for vin in vins:
        vehicle = inventory.facts(session, vin)
        if vehicle is None:
            raise UnknownThing(f"vehicle {vin!r} is not registered: register it first")
        refusal = judge_campaign(vehicle, offers)
        if refusal is not None:
            raise NotAllowed(str(refusal))
        vehicles.append(vehicle)
    return vehicles


def _insert(
    session: Session,
    campaign_id: str,
    request: ota_pb2.CreateCampaignRequest,
    transfer: TransferPolicy,
    given: list[GivenImage],
    *,
    now: float,
) -> ota_pb2.Campaign:
    vehicles = _judge_all(session, list(request.vins), [image.offer for image in given])  # again: time has passed
    session.add(
        CampaignRow(
            campaign_id=campaign_id,
            name=request.name,
            release_notes=request.release_notes,
            transfer=transfer,
            manifest_lifetime_s=request.manifest_lifetime_s,
            approval_timeout_s=request.approval_timeout_s,
            encrypt=request.encrypt,
            created_at=now,
        )
    )
    session.flush()
    for image in given:
        for firmware, _ in image.files():
            repository.add_image(session, firmware, now=now, is_public=not image.encrypt)
        session.add(
            CampaignImageRow(
                campaign_id=campaign_id,
                hardware_id=image.firmware.hardware_id,
                image_sha256=image.firmware.sha256,
                base_sha256=image.base.sha256 if image.base else None,
            )
        )
    session.flush()
    for position, vehicle in enumerate(vehicles):
        if transfer is TransferPolicy.DELTA:
            for need in manifests.patch_needs(session, campaign_id, vehicle):
                if need.base is None and need.running_version:
                    raise NotAllowed(_no_base(need))
        job_id = f"job-{secrets.token_hex(6)}"
        session.add(
            JobRow(
                job_id=job_id,
                campaign_id=campaign_id,
                vin=vehicle.vin,
                position=position,
                state=JobState.CREATED,
                reason="",
                taken_seq=0,
                offered=False,
                cancel_asked=False,
                cancel_reason="",
                details=b"",
                updated_at=now,
            )
        )
    session.flush()
    return jobs.campaign_message(session, campaign_id)


def _is_enough(row: PatchRow, transfer: TransferPolicy, *, is_public: bool) -> bool:
    if not row.path:
        return transfer is not TransferPolicy.DELTA
    return row.is_public or not is_public


def _location(image: ImageRow) -> str:
    return repository.location(image.path, is_public=image.is_public)


def _no_base(need: PatchNeed) -> str:
    return (
        f"a patch is demanded for {need.hardware_id}, but the cloud does not hold the image of version "
        f"{need.running_version or '(not reported yet)'} that {need.ecu} runs: give it as base_image"
    )
