"""``ota.v1.Operator``: the service for people and tools that manage campaigns.

Each call needs a certificate with a role (``identity``): operators create campaigns, approvers approve those of others, both abort, viewers
read.
``campaigns.orchestrator`` creates campaigns, and ``campaigns.jobs`` cancels them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import fleet, inventory, job_lists, jobs, rollouts
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.campaign_views import CampaignViews
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.registration import check_gateway_key, check_registration
from otabench.cloud.control.answering import EVERYBODY, Context, operator_call, reading_call
from otabench.cloud.control.identity import ABORTERS, APPROVERS, OPERATORS, Caller
from otabench.cloud.store.database import Database
from otabench.proto import ota_pb2, ota_pb2_grpc

_REST_FACTOR: Final = 9
"""After sending a campaign for a second, its watchers rest for so many seconds."""
_MAX_REST_S: Final = 10.0


class Operator(ota_pb2_grpc.OperatorServicer):
    """The service. ota.proto describes each call."""

    def __init__(
        self,
        *,
        database: Database,
        orchestrator: Orchestrator,
        publication: Publication,
        announcer: Announcer,
        tls: bool,
        require_approval: bool = False,
    ) -> None:
        self._database = database
        self._publication = publication
        self._orchestrator = orchestrator
        self._announcer = announcer
        self._views = CampaignViews(database, announcer)
        self._tls = tls
        self._require_approval = require_approval

    async def RegisterVehicle(
        self, request: ota_pb2.RegisterVehicleRequest, context: Context
    ) -> ota_pb2.RegisterVehicleResponse:
        async with self._call(context):
            ecus, gateway_key = check_registration(request), check_gateway_key(request)
            await self._database.run(
                lambda session: inventory.register(session, request.vin, ecus, gateway_key=gateway_key)
            )
            return ota_pb2.RegisterVehicleResponse()

    async def SetVehicleAttributes(
        self, request: ota_pb2.SetVehicleAttributesRequest, context: Context
    ) -> ota_pb2.Vehicle:
        async with self._call(context):
            return await self._database.run(lambda session: fleet.set_attributes(session, request))

    async def ListVehicles(
        self, request: ota_pb2.ListVehiclesRequest, context: Context
    ) -> ota_pb2.ListVehiclesResponse:
        async with self._reading(context):
            return await fleet.list_vehicles(self._database, request)

    async def PublishImages(
        self, request: ota_pb2.PublishImagesRequest, context: Context
    ) -> ota_pb2.PublishImagesResponse:
        async with self._call(context):
            version = await self._publication.publish(dict(request.metadata))
            return ota_pb2.PublishImagesResponse(snapshot_version=version)

    async def CreateCampaign(self, request: ota_pb2.CreateCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context) as caller:
            request.needs_approval |= self._require_approval
            return await self._orchestrator.create_campaign(request, created_by=str(caller or EVERYBODY))

    async def ApproveCampaign(self, request: ota_pb2.ApproveCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context, APPROVERS) as caller:
            campaign = await self._orchestrator.approve_campaign(
                request.campaign_id, who=str(caller or EVERYBODY), person=caller.person if caller else ""
            )
            self._announcer.campaign_changed(request.campaign_id)
            return campaign

    async def GetCampaign(self, request: ota_pb2.GetCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._reading(context):
            return await self._database.read(
                lambda session: jobs.campaign_message(session, request.campaign_id, with_jobs=not request.without_jobs)
            )

    async def ListCampaigns(
        self, request: ota_pb2.ListCampaignsRequest, context: Context
    ) -> ota_pb2.ListCampaignsResponse:
        async with self._reading(context):
            return await self._database.read(lambda session: job_lists.list_campaigns(session, request))

    async def ListJobs(self, request: ota_pb2.ListJobsRequest, context: Context) -> ota_pb2.ListJobsResponse:
        async with self._reading(context):
            return await self._database.read(lambda session: job_lists.list_jobs(session, request))

    async def AbandonJob(self, request: ota_pb2.AbandonJobRequest, context: Context) -> ota_pb2.Job:
        def abandon(session: Session) -> tuple[ota_pb2.Job, jobs.Transition]:
            job, transition = jobs.abandon(
                session, request.campaign_id, request.vin, reason=request.reason, now=time.time()
            )
            return jobs.job_message(job, campaign_id=job.campaign_id), transition

        async with self._call(context, ABORTERS):
            message, transition = await self._database.run(abandon)
            self._announcer.job_moved(transition)
            return message

    async def CancelCampaign(self, request: ota_pb2.CancelCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context, ABORTERS):
            transitions = await self._database.run(
                lambda session: jobs.cancel(
                    session,
                    request.campaign_id,
                    reason=request.reason,
                    now=time.time(),
                    only_not_begun=request.only_not_begun,
                )
            )
            for transition in transitions:
                self._announcer.job_moved(transition)
            self._announcer.campaign_changed(request.campaign_id)
            return await self._campaign(request.campaign_id)

    async def PauseCampaign(self, request: ota_pb2.PauseCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context, ABORTERS):
            await self._database.run(
                lambda session: rollouts.pause(session, request.campaign_id, reason=request.reason)
            )
            return await self._changed_campaign(request.campaign_id)

    async def ResumeCampaign(self, request: ota_pb2.ResumeCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context):
            await self._database.run(lambda session: rollouts.resume(session, request.campaign_id, now=time.time()))
            return await self._changed_campaign(request.campaign_id)

    async def RetryCampaign(self, request: ota_pb2.RetryCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context) as caller:
            return await self._orchestrator.retry_campaign(request.campaign_id, created_by=str(caller or EVERYBODY))

    async def WatchCampaign(
        self, request: ota_pb2.GetCampaignRequest, context: Context
    ) -> AsyncIterator[ota_pb2.Campaign]:
        async with self._reading(context), self._views.watching(request.campaign_id) as watcher:
            message = watcher.whole()
            while True:
                began = time.monotonic()
                yield message
                # Sending a large campaign takes long. All its watchers together take a tenth of the time at most.
                rest_s = (time.monotonic() - began) * _REST_FACTOR * watcher.share
                await asyncio.sleep(min(rest_s, _MAX_REST_S))
                if not await watcher.wait():
                    return
                message = watcher.changes() if request.changes_only else watcher.whole()

    def _reading(self, context: Context) -> AbstractAsyncContextManager[None]:
        return reading_call(context, tls=self._tls)

    def _call(self, context: Context, units: frozenset[str] = OPERATORS) -> AbstractAsyncContextManager[Caller | None]:
        return operator_call(context, tls=self._tls, units=units)

    async def _changed_campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        self._announcer.campaign_changed(campaign_id)
        return await self._campaign(campaign_id)

    async def _campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        return await self._database.run(lambda session: jobs.campaign_message(session, campaign_id))
