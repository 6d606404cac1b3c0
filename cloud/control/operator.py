"""``ota.v1.Operator``: what the people and tools behind a campaign speak.

Decides who may call, and when a watcher is told. Campaigns are made by the orchestrator, canceled by ``jobs``.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory, jobs
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.control.answering import Context, caller, refusals_as_status
from otabench.cloud.control.identity import require_operator
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.job_states import from_wire, is_final


class Operator(ota_pb2_grpc.OperatorServicer):
    """The service."""

    def __init__(self, *, database: Database, orchestrator: Orchestrator, announcer: Announcer, tls: bool) -> None:
        self._database = database
        self._orchestrator = orchestrator
        self._announcer = announcer
        self._tls = tls

    async def RegisterVehicle(
        self, request: ota_pb2.RegisterVehicleRequest, context: Context
    ) -> ota_pb2.RegisterVehicleResponse:
        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            inventory.check_registration(request)
            await self._database.run(lambda session: inventory.register(session, request))
            return ota_pb2.RegisterVehicleResponse()

    async def CreateCampaign(self, request: ota_pb2.CreateCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            return await self._orchestrator.create_campaign(request)

    async def GetCampaign(self, request: ota_pb2.GetCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            return await self._campaign(request.campaign_id)

    async def ListCampaigns(
        self, request: ota_pb2.ListCampaignsRequest, context: Context
    ) -> ota_pb2.ListCampaignsResponse:
        def look(session: Session) -> list[ota_pb2.Campaign]:
            order = (CampaignRow.created_at, CampaignRow.campaign_id)
            ids = session.scalars(select(CampaignRow.campaign_id).order_by(*order)).all()
            return [jobs.campaign_message(session, campaign_id) for campaign_id in ids]

        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            return ota_pb2.ListCampaignsResponse(campaigns=await self._database.run(look))

    async def CancelCampaign(self, request: ota_pb2.CancelCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            transitions = await self._database.run(
                lambda session: jobs.cancel(session, request.campaign_id, reason=request.reason, now=time.time())
            )
            for transition in transitions:
                self._announcer.job_moved(transition)
            self._announcer.campaign_changed(request.campaign_id)
            return await self._campaign(request.campaign_id)

    async def WatchCampaign(
        self, request: ota_pb2.GetCampaignRequest, context: Context
    ) -> AsyncIterator[ota_pb2.Campaign]:
        async with refusals_as_status(context):
            require_operator(caller(context, tls=self._tls))
            with self._announcer.watching(request.campaign_id) as changed:
                sent = None
                while True:
                    changed.clear()
                    campaign = await self._campaign(request.campaign_id)
                    if campaign != sent:
                        yield campaign
                        sent = campaign
                    if all(is_final(from_wire(job.state)) for job in campaign.jobs):
                        return
                    await changed.wait()

    async def _campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        return await self._database.run(lambda session: jobs.campaign_message(session, campaign_id))
