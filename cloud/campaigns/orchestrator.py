"""Create campaigns: from the operator's request to jobs, manifests and wake-ups.

    campaign = await orchestrator.create_campaign(
        ota_pb2.CreateCampaignRequest(name="2.0.0", vins=["VIN1"], images=[image])
    )

Steps of a new campaign:

1. Check the request itself, and verify every image (``request``).
2. Judge every vehicle (``vehicle_choice``), as far as that is possible before its check-in.
3. Store the images, then write campaign and jobs to the database in one transaction.
4. If every ECU that gets an image has reported its version, make the vehicle's manifest now (``manifest_maker``), for a few vehicles at a
   time. Otherwise the vehicle's first check-in makes it.
5. Wake the vehicles.

Of a large campaign the call returns after step 3, and the rest goes on in a task of its own. An error before the end of step 3 leaves no
campaign behind. A process that is killed after step 3 loses nothing: check-ins make missing manifests, and vehicles poll.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.cloud.campaigns import approval, campaign_requests, fleet, jobs, outbox, retries, snapshots
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.artifact_maker import ArtifactMaker
from otabench.cloud.campaigns.background import BackgroundTasks
from otabench.cloud.campaigns.manifest_maker import ManifestMaker
from otabench.cloud.campaigns.new_campaigns import insert_campaign, plan_campaign
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.request import GivenImage, check_campaign
from otabench.cloud.campaigns.vehicle_choice import Chosen, choose, judge_all, wants_exclusion
from otabench.cloud.campaigns.vehicle_rules import Offer, VehicleFacts
from otabench.cloud.errors import RequestError
from otabench.cloud.store.database import Database
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState

_log = logging.getLogger(__name__)
_SMALL_CAMPAIGN: Final = 10
"""With so many vehicles at most, the call returns after the manifests are made, so that on a bench everything is ready then."""
_READ_TOGETHER: Final = 200
"""Vehicles that are read from the database at a time."""
_MAKE_TOGETHER: Final = 10
"""The manifests of so many vehicles are signed in one transaction. It takes milliseconds, in which no other one can write."""
_WAKE_TOGETHER: Final = 50
"""So many vehicles are woken by one transaction, while the manifests of the next ones are made."""
_ANNOUNCE_TOGETHER: Final = 50
"""After so many lines of the trace other calls have their turn."""


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

    async def create_campaign(
        self, request: ota_pb2.CreateCampaignRequest, *, created_by: str = ""
    ) -> ota_pb2.Campaign:
        """Create a campaign. If it is large, return it before its manifests are made.

        ``created_by`` is the subject of the operator's certificate.

        A call with the ``request_id`` of an earlier one returns that one's campaign. Without an id, a repeated call creates a second one.

        Raises:
            InvalidRequest: the request itself or an image is wrong, or another request had the same ``request_id``.
            UnknownThing: a vehicle is not registered.
            NotAllowed: a rule refuses a vehicle, an image is not in the Image repository, or a demanded patch cannot be made.
            NotReady: database or store does not answer.
        """
        others = await fleet.find_targets(self._database, request)
        if request.dry_run:
            return await self._foresee(request, others)
        # 1. the request in itself
        checked = await self._artifacts.run(lambda: check_campaign(request, key=self._image_key))
        exclude = wants_exclusion(request)
        # 2. the vehicles, before anything is stored for them
        found = await self._find_or_choose(request, [image.offer for image in checked.images], exclude=exclude)
        if isinstance(found, ota_pb2.Campaign):
            return found
        firmware = [image.firmware for image in checked.images]
        await self._database.run(lambda session: self._publication.require_listed(session, firmware))
        # 3. images, then campaign and jobs
        await self._artifacts.store_images(checked.images)
        new = await self._artifacts.run(
            lambda: plan_campaign(request, checked, found, exclude=exclude, created_by=created_by, now=time.time())
        )
        campaign = await self._database.run(lambda session: insert_campaign(session, new))
        # The other campaign: a concurrent call with the same ``request_id`` was faster, and does the rest.
        if campaign.campaign_id == new.campaign_id:
            finishing = self._finishing.start(self._finish(campaign, checked.images))
            if len(campaign.jobs) <= _SMALL_CAMPAIGN:
                # The shield keeps the task alive if the operator hangs up.
                await asyncio.shield(finishing)
        return campaign

    async def _foresee(
        self, request: ota_pb2.CreateCampaignRequest, others: Sequence[ota_pb2.Campaign.Excluded]
    ) -> ota_pb2.Campaign:
        """Return the campaign that a request would create now, without ids: its jobs, and who would not be in it."""
        foreseen = ota_pb2.Campaign(name=request.name, release_notes=request.release_notes, excluded=others)
        if not request.vins:
            return foreseen
        checked = await self._artifacts.run(lambda: check_campaign(request, key=self._image_key))
        known, offers = await self._load_vehicles(request.vins), [image.offer for image in checked.images]
        chosen, _ = await self._artifacts.run(lambda: judge_all(request.vins, known, offers))
        foreseen.jobs.extend(ota_pb2.Job(vin=vehicle.vin) for vehicle in chosen.vehicles)
        foreseen.excluded.extend(
            ota_pb2.Campaign.Excluded(vin=each.vin, reason=each.reason) for each in chosen.excluded
        )
        return foreseen

    async def approve_campaign(self, campaign_id: str, *, who: str, person: str) -> ota_pb2.Campaign:
        """Approve a campaign (``approval.approve``), make its manifests, and wake its vehicles.

        Raises:
            UnknownThing: the campaign does not exist.
            NotAllowed: it does not need approval, or the same person created it.
            NotReady: database or store does not answer.
        """
        released = await self._database.run(
            lambda session: approval.approve(session, campaign_id, who=who, person=person, now=time.time())
        )
        finishing = self._finishing.start(self._prepare_and_wake(campaign_id, released))
        if len(released) <= _SMALL_CAMPAIGN:
            await asyncio.shield(finishing)
        return await self._database.run(lambda session: jobs.campaign_message(session, campaign_id))

    async def retry_campaign(self, campaign_id: str, *, created_by: str) -> ota_pb2.Campaign:
        """Create a campaign for the vehicles of another one whose jobs have failed (``retries.retry``).

        Raises:
            UnknownThing: the campaign does not exist.
            NotAllowed: there is nothing to try again, or no vehicle with which that can be done.
            NotReady: the database does not answer.
        """
        campaign = await self._database.run(
            lambda session: retries.retry(session, campaign_id, created_by=created_by, now=time.time())
        )
        self._finishing.start(self._finish(campaign, []))
        return campaign

    def offer(self, campaign_id: str, opened: Sequence[tuple[str, str]]) -> None:
        """Make the manifests of jobs that may be offered now, pairs of job and VIN, and wake their vehicles, in a task of its own."""
        self._finishing.start(self._prepare_and_wake(campaign_id, opened))

    def close(self) -> None:
        """Stop making manifests. The check-ins of the vehicles, which the next process wakes, make the missing ones."""
        self._finishing.cancel()

    async def _find_or_choose(
        self, request: ota_pb2.CreateCampaignRequest, offers: Sequence[Offer], *, exclude: bool
    ) -> ota_pb2.Campaign | Chosen:
        """Return the campaign of an earlier call with the same ``request_id``. Without one, choose the vehicles."""
        if (earlier := await self._find_earlier(request)) is not None:
            return earlier
        known = await self._load_vehicles(request.vins)
        try:
            return await self._artifacts.run(lambda: choose(request.vins, known, offers, exclude=exclude))
        except RequestError:
            # A concurrent call with the same id may have made the vehicles busy meanwhile.
            if (earlier := await self._find_earlier(request)) is not None:
                return earlier
            raise

    async def _load_vehicles(self, vins: Sequence[str]) -> Mapping[str, VehicleFacts]:
        """Return the registered ones. They are read in parts, so that check-ins are answered in between."""
        known: dict[str, VehicleFacts] = {}
        for start in range(0, len(vins), _READ_TOGETHER):
            work = partial(snapshots.load_vehicles, vins=vins[start : start + _READ_TOGETHER])
            known.update(await self._database.read(work))
        return known

    async def _find_earlier(self, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign | None:
        return await self._database.read(lambda session: campaign_requests.find_campaign(session, request))

    async def _finish(self, campaign: ota_pb2.Campaign, images: Sequence[GivenImage]) -> None:
        """Announce the campaign, make the manifests, and wake the vehicles."""
        await self._announce(campaign, images)
        # Jobs of a roll-out are offered when it opens them (``rollout_keeper``).
        if not campaign.needs_approval and not campaign.HasField("rollout"):
            await self._prepare_and_wake(campaign.campaign_id, [(job.job_id, job.vin) for job in campaign.jobs])

    async def _prepare_and_wake(self, campaign_id: str, jobs_of: Sequence[tuple[str, str]]) -> None:
        waiting: list[tuple[str, str, str]] = []
        for start in range(0, len(jobs_of), _MAKE_TOGETHER):
            part = jobs_of[start : start + _MAKE_TOGETHER]
            # 4. manifests
            await self._make_manifests(campaign_id, part)
            # 5. wake-up
            waiting.extend((vin, job_id, campaign_id) for job_id, vin in part)
            if len(waiting) >= _WAKE_TOGETHER:
                await self._wake(waiting)
                waiting.clear()
        await self._wake(waiting)

    async def _make_manifests(self, campaign_id: str, jobs_of: Sequence[tuple[str, str]]) -> None:
        try:
            await self._manifests.prepare_all(campaign_id, jobs_of)
            return
        except RequestError as error:
            _log.warning("manifests of %s are made one by one: %s", campaign_id, error)
        # One vehicle of them may be the cause.
        for job_id, vin in jobs_of:
            try:
                await self._manifests.prepare(job_id, vin=vin, only_if_versions_known=True)
            except RequestError as error:
                _log.warning("manifest of %s is not made yet, the check-in will make it: %s", job_id, error)

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

    async def _announce(self, campaign: ota_pb2.Campaign, images: Sequence[GivenImage]) -> None:
        self._announcer.campaign_created(campaign, images=[str(image) for image in images])
        for number, job in enumerate(campaign.jobs, start=1):
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
            if number % _ANNOUNCE_TOGETHER == 0:
                await asyncio.sleep(0)
