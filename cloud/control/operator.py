"""``ota.v1.Operator``: the service for people and tools that manage campaigns.

Every call needs an operator's certificate; for those that only read, a viewer's is enough.
``campaigns.orchestrator`` creates campaigns, and ``campaigns.jobs`` cancels them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import inventory, jobs
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.orchestrator import Orchestrator
from otabench.cloud.campaigns.publication import Publication
from otabench.cloud.campaigns.registration import check_registration
from otabench.cloud.control.answering import Context, operator_call, reading_call
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import CampaignRow
from otabench.proto import ota_pb2, ota_pb2_grpc
from otabench.proto.job_states import from_wire, is_final

_POLL_S: Final = 1.0
"""How often a watcher looks for changes that other control planes have made."""
_REST_FACTOR: Final = 9
"""After reading a campaign for a second, a watcher rests for so many seconds: it takes a tenth of the time at most."""
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
    ) -> None:
        self._database = database
        self._publication = publication
        self._orchestrator = orchestrator
        self._announcer = announcer
        self._tls = tls

    async def RegisterVehicle(
        self, request: ota_pb2.RegisterVehicleRequest, context: Context
    ) -> ota_pb2.RegisterVehicleResponse:
        async with self._call(context):
            ecus = check_registration(request)
            await self._database.run(lambda session: inventory.register(session, request.vin, ecus))
            return ota_pb2.RegisterVehicleResponse()

    async def PublishImages(
        self, request: ota_pb2.PublishImagesRequest, context: Context
    ) -> ota_pb2.PublishImagesResponse:
        async with self._call(context):
            version = await self._publication.publish(dict(request.metadata))
            return ota_pb2.PublishImagesResponse(snapshot_version=version)

    async def CreateCampaign(self, request: ota_pb2.CreateCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context):
            return await self._orchestrator.create_campaign(request)

    async def GetCampaign(self, request: ota_pb2.GetCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._reading(context):
            return await self._campaign(request.campaign_id)

    async def ListCampaigns(
        self, request: ota_pb2.ListCampaignsRequest, context: Context
    ) -> ota_pb2.ListCampaignsResponse:
        def load_all(session: Session) -> list[ota_pb2.Campaign]:
            order = (CampaignRow.created_at, CampaignRow.campaign_id)
            ids = session.scalars(select(CampaignRow.campaign_id).order_by(*order)).all()
            return [jobs.campaign_message(session, campaign_id) for campaign_id in ids]

        async with self._reading(context):
            return ota_pb2.ListCampaignsResponse(campaigns=await self._database.run(load_all))

    async def CancelCampaign(self, request: ota_pb2.CancelCampaignRequest, context: Context) -> ota_pb2.Campaign:
        async with self._call(context):
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
        async with self._reading(context):
            with self._announcer.watching(request.campaign_id) as changed:
                sent = None
                while True:
                    # Clear before reading, so that a change during the read wakes the watcher again.
                    changed.clear()
                    began = time.monotonic()
                    mark, campaign = await self._database.run(
                        lambda session: (
                            jobs.change_mark(session, request.campaign_id),
                            jobs.campaign_message(session, request.campaign_id),
                        )
                    )
                    took_s = time.monotonic() - began
                    if campaign != sent:
                        yield campaign
                        sent = campaign
                    if all(is_final(from_wire(job.state)) for job in campaign.jobs):
                        return
                    # A large campaign takes long to read. Its watchers must not keep the database from the vehicles.
                    await asyncio.sleep(min(took_s * _REST_FACTOR, _MAX_REST_S))
                    await self._wait_for_change(request.campaign_id, mark, changed)

    async def _wait_for_change(self, campaign_id: str, mark: tuple[object, ...], changed: asyncio.Event) -> None:
        """Wait until a job of the campaign changes, by this control plane or by another one on the same database."""
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    await changed.wait()
                return
            except TimeoutError:
                if await self._database.run(lambda session: jobs.change_mark(session, campaign_id)) != mark:
                    return

    def _reading(self, context: Context) -> AbstractAsyncContextManager[None]:
        return reading_call(context, tls=self._tls)

    def _call(self, context: Context) -> AbstractAsyncContextManager[None]:
        return operator_call(context, tls=self._tls)

    async def _campaign(self, campaign_id: str) -> ota_pb2.Campaign:
        return await self._database.run(lambda session: jobs.campaign_message(session, campaign_id))
