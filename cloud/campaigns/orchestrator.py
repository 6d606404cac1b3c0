"""Create campaigns: from the operator's request to jobs, manifests and wake-ups.

    campaign = await orchestrator.create_campaign(
        ota_pb2.CreateCampaignRequest(name="2.0.0", vins=["VIN1"], images=[image])
    )

Steps of a new campaign:

1. Check the request itself, and verify every image (``request``).
2. Judge every vehicle by ``vehicle_rules``, as far as that is possible before its check-in.
3. Store the images, then write campaign and jobs to the database in one transaction.
4. If every ECU that gets an image has reported its version, make the vehicle's manifest now (``manifest_maker``). Otherwise the
   vehicle's first check-in makes it.
5. Wake the vehicles.

Of a large campaign the call returns after step 3, and the rest goes on in a task of its own. An error before the end of step 3 leaves no
campaign behind. A process that is killed after step 3 loses nothing: check-ins make missing manifests, and vehicles poll.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import campaign_requests, ecu_images, inventory, jobs, outbox
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.background import BackgroundTasks
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.request import CheckedCampaign, GivenImage, check_campaign
from otabench.cloud.campaigns.transfer_policy import TransferPolicy
from otabench.cloud.campaigns.vehicle_rules import Offer, VehicleFacts, judge_campaign
from otabench.cloud.errors import NotAllowed, RequestError, UnknownThing
from otabench.cloud.store import image_repository as repository
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignImageRow, CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

_log = logging.getLogger(__name__)
_SMALL_CAMPAIGN: Final = 10
"""With so many vehicles at most, the call returns after the manifests are made, so that on a bench everything is ready then."""
_WAKE_TOGETHER: Final = 50
"""So many vehicles are woken by one transaction, while the manifests of the next ones are made."""


class Orchestrator:
    """Creates campaigns. Each control plane has one; its methods run on the event loop."""

    def __init__(
        self,
        *,
        database: Database,
        artifacts: ArtifactMaker,
        manifests: ManifestMaker,
        image_key: Ed25519PublicKey,
        announcer: Announcer,
        publication: Publication,
        messages_per_s: float,
    ) -> None:
        self._database = database
        self._publication = publication
        self._artifacts = artifacts
        self._manifests = manifests
        self._image_key = image_key
        self._announcer = announcer
        self._messages_per_s = messages_per_s
        self._finishing = BackgroundTasks()

    async def create_campaign(self, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign:
        """Create a campaign. If it is large, return it before its manifests are made.

        A call with the ``request_id`` of an earlier one returns that one's campaign. Without an id, a repeated call creates a second one.

        Raises:
            InvalidRequest: the request itself or an image is wrong, or another request had the same ``request_id``.
            UnknownThing: a vehicle is not registered.
            NotAllowed: a rule refuses a vehicle, an image is not in the Image repository, or a demanded patch cannot be made.
            NotReady: database or store does not answer.
        """
        # 1. the request in itself
        checked = await self._artifacts.run(lambda: check_campaign(request, key=self._image_key))
        # 2. the vehicles, before anything is stored for them
        offers = [image.offer for image in checked.images]
        earlier = await self._database.run(lambda session: _find_or_judge(session, request, offers))
        if earlier is not None:
            return earlier
        firmware = [image.firmware for image in checked.images]
        await self._database.run(lambda session: self._publication.require_listed(session, firmware))
        # 3. images, then campaign and jobs
        await self._artifacts.store_images(checked.images)
        # Ids are random instead of counted. A gateway stores the ids of its jobs, and a cloud with a new database must not repeat them.
        campaign_id = f"campaign-{secrets.token_hex(6)}"
        campaign = await self._database.run(
            lambda session: _insert(session, campaign_id, request, checked, now=time.time())
        )
        # The other campaign: a concurrent call with the same ``request_id`` was faster, and does the rest.
        if campaign.campaign_id == campaign_id:
            self._announce(campaign, checked.images)
            finishing = self._finishing.start(self._finish(campaign))
            if len(campaign.jobs) <= _SMALL_CAMPAIGN:
                # The shield keeps the task alive if the operator hangs up.
                await asyncio.shield(finishing)
        return campaign

    def close(self) -> None:
        """Stop making manifests. The check-ins of the vehicles, which the next process wakes, make the missing ones."""
        self._finishing.cancel()

    async def _finish(self, campaign: ota_pb2.Campaign) -> None:
        """Make the manifests, and wake the vehicles."""
        waiting = []
        for job in campaign.jobs:
            # 4. manifest
            try:
                await self._manifests.prepare(job.job_id, vin=job.vin, only_if_versions_known=True)
            except RequestError as error:
                _log.warning("manifest of %s is not made yet, the check-in will make it: %s", job.job_id, error)
            # 5. wake-up
            waiting.append((job.vin, job.job_id, campaign.campaign_id))
            if len(waiting) == _WAKE_TOGETHER:
                await self._wake(waiting)
                waiting.clear()
        await self._wake(waiting)

    async def wake_waiting(self) -> None:
        """Wake the vehicles whose jobs are CREATED. The previous process may have been killed before it woke them."""
        woken = await self._database.run(
            lambda session: outbox.add_missing_wake_ups(session, messages_per_s=self._messages_per_s, now=time.time())
        )
        if woken:
            self._announcer.notify_outbox()

    async def _wake(self, waiting: Sequence[tuple[str, str, str]]) -> None:
        window_s = outbox.window_of(len(waiting), messages_per_s=self._messages_per_s)
        try:
            await self._database.run(
                lambda session: outbox.add_wake_ups(session, waiting, now=time.time(), window_s=window_s)
            )
        except RequestError as error:
            _log.warning("%d vehicles are not woken, they poll: %s", len(waiting), error)
        self._announcer.notify_outbox()

    def _announce(self, campaign: ota_pb2.Campaign, images: Sequence[GivenImage]) -> None:
        self._announcer.campaign_created(campaign, images=[str(image) for image in images])
        for job in campaign.jobs:
            self._announcer.job_moved(
                jobs.Transition(
                    job_id=job.job_id,
                    vin=job.vin,
                    campaign_id=campaign.campaign_id,
                    before=None,
                    after=JobState.CREATED,
                    reason="",
                )
            )


def _find_or_judge(
    session: Session, request: ota_pb2.CreateCampaignRequest, offers: Sequence[Offer]
) -> ota_pb2.Campaign | None:
    """Return the campaign of an earlier call with the same ``request_id``. Without one, judge the vehicles and return None."""
    # With the lock first, a concurrent call with the same id has either stored its campaign or cannot make a vehicle busy meanwhile.
    jobs.lock_vehicles(session, request.vins)
    earlier = campaign_requests.find_campaign(session, request)
    if earlier is None:
        _judge_vehicles(session, request.vins, offers)
    return earlier


def _judge_vehicles(session: Session, vins: Sequence[str], offers: Sequence[Offer]) -> list[VehicleFacts]:
    vehicles = []
    for vin in vins:
        vehicle = inventory.load_vehicle(session, vin)
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
    checked: CheckedCampaign,
    *,
    now: float,
) -> ota_pb2.Campaign:
    """Write campaign, images and jobs. Return the campaign, or that of an earlier call with the same ``request_id``."""
    # Judge again inside this transaction: storing the images took time, and a vehicle may have become busy meanwhile.
    jobs.lock_vehicles(session, request.vins)
    earlier = campaign_requests.find_campaign(session, request)
    if earlier is not None:
        return earlier
    vehicles = _judge_vehicles(session, request.vins, [image.offer for image in checked.images])
    _insert_campaign(session, campaign_id, request, checked, now=now)
    for position, vehicle in enumerate(vehicles):
        if checked.policy is TransferPolicy.DELTA:
            _require_bases(session, campaign_id, vehicle)
        _insert_job(session, campaign_id, vehicle.vin, position, now=now)
    session.flush()
    return jobs.campaign_message(session, campaign_id)


def _insert_campaign(
    session: Session,
    campaign_id: str,
    request: ota_pb2.CreateCampaignRequest,
    checked: CheckedCampaign,
    *,
    now: float,
) -> None:
    session.add(
        CampaignRow(
            campaign_id=campaign_id,
            name=request.name,
            release_notes=request.release_notes,
            transfer=checked.policy,
            manifest_lifetime_s=request.manifest_lifetime_s,
            approval_timeout_s=request.approval_timeout_s,
            encrypt=request.encrypt,
            conditions=json.dumps([str(each) for each in checked.conditions]),
            texts=json.dumps({language: each.model_dump() for language, each in checked.texts.items()}),
            conditions_limit_s=request.conditions_limit_s,
            driver_rules=checked.driver.model_dump_json(),
            created_at=now,
            request_id=request.request_id or None,
            request_sha256=campaign_requests.digest(request),
        )
    )
    session.flush()  # the rows below refer to this one
    for image in checked.images:
        for firmware, _ in image.files():
            repository.add_image(session, firmware, now=now, is_public=not image.encrypt)
        session.add(
            CampaignImageRow(
                campaign_id=campaign_id,
                hardware_id=image.firmware.hardware_id,
                image_id=image.firmware.image_id,
                base_sha256=image.base.sha256 if image.base else None,
            )
        )
    session.flush()


def _require_bases(session: Session, campaign_id: str, vehicle: VehicleFacts) -> None:
    """Refuse a delta campaign if no patch can be made for an ECU.

    Raises:
        NotAllowed: an ECU does not take patches, or the cloud does not hold the image that it has reported running.
    """
    for target in ecu_images.load_ecu_images(session, campaign_id, vehicle):
        if target.base is None and (target.ecu.software_version or not target.ecu.takes_patches):
            raise NotAllowed(target.describe_missing_base())


def _insert_job(session: Session, campaign_id: str, vin: str, position: int, *, now: float) -> None:
    job_id = f"job-{secrets.token_hex(6)}"
    session.add(
        JobRow(
            job_id=job_id,
            campaign_id=campaign_id,
            vin=vin,
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
    outbox.add_transition(session, vin=vin, job_id=job_id, state=JobState.CREATED, reason="", now=now)
