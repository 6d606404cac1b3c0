"""Answer, many at a time, the check-ins that change nothing or only mark a job as offered. Almost all check-ins of a fleet are of this
kind.

    outcome = await reader.judge(request)
    if outcome is None:
        ...  # something has to be written: ``check_in.judge``, in a transaction of its own

The rules are those of ``check_in``. A check-in changes nothing if its report is the stored one, and its job, if any, was offered before. A
job is marked as offered only if it still is as it was read (compare and set).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, ecu_images, jobs, snapshots
from otabench.cloud.campaigns.check_in import CheckInOutcome
from otabench.cloud.campaigns.manifests import PresentKeys
from otabench.cloud.campaigns.snapshots import OpenJob
from otabench.cloud.campaigns.vehicle_rules import Offer
from otabench.cloud.store.batches import Batches
from otabench.cloud.store.database import Database
from otabench.cloud.trust.director import Director
from otabench.proto import ota_pb2

_MAX_CAMPAIGNS: Final = 256


class CheckInReader:
    """The reading half of check-ins. A control plane has one instance, whose methods run on the event loop."""

    def __init__(self, database: Database, director: Director) -> None:
        self._database = database
        self._keys = PresentKeys(director)
        self._batches: Batches[ota_pb2.CheckInRequest, CheckInOutcome | None] = Batches(self._judge_all)
        self._offers_to_mark: Batches[OpenJob, bool] = Batches(self._mark_all)
        # Kept without expiry: a campaign's images never change.
        self._offers: OrderedDict[str, Sequence[Offer]] = OrderedDict()

    async def judge(self, request: ota_pb2.CheckInRequest) -> CheckInOutcome | None:
        """Return the answer, or None if something has to be written first.

        Raises:
            InvalidRequest: the VIN is malformed.
            NotReady: the database does not answer.
        """
        outcome = await self.read(request)
        if outcome is None or outcome.offers is None:
            return outcome
        # A job that cannot be marked has changed since it was read.
        is_marked = await self._offers_to_mark.result_of(outcome.offers)
        return replace(outcome, offers=None) if is_marked else None

    async def read(self, request: ota_pb2.CheckInRequest) -> CheckInOutcome | None:
        """Return what ``judge`` returns, before its job (``offers``) is marked."""
        return await self._batches.result_of(request)

    async def _mark_all(self, offers: Sequence[OpenJob]) -> Sequence[bool]:
        marked = await self._database.run(lambda session: jobs.mark_offered(session, offers, now=time.time()))
        return [job.job_id in marked for job in offers]

    async def _judge_all(self, requests: Sequence[ota_pb2.CheckInRequest]) -> Sequence[CheckInOutcome | None]:
        return await self._database.read_rows(lambda connection: self._judge_now(connection, requests))

    def _judge_now(
        self, connection: Connection, requests: Sequence[ota_pb2.CheckInRequest]
    ) -> Sequence[CheckInOutcome | None]:
        now, root_version = time.time(), self._keys.root_version
        found = snapshots.load(connection, list({request.vin for request in requests}))
        outcomes = []
        for request in requests:
            snapshot = found.get(request.vin)
            offers: Sequence[Offer] = ()
            if snapshot and snapshot.job:
                offers = self._load_offers(connection, snapshot.job.campaign_id)
                if snapshot.manifest and not self._keys.have_signed(
                    connection, snapshot.manifest, root_version=root_version
                ):
                    # A manifest that the present keys have not signed counts as missing, and a new one is made.
                    snapshot = replace(snapshot, manifest=None)
            outcomes.append(check_in.judge_unchanged(snapshot, request, offers, now=now))
        return outcomes

    def _load_offers(self, connection: Connection, campaign_id: str) -> Sequence[Offer]:
        offers = self._offers.get(campaign_id)
        if offers is None:
            with Session(connection) as session:
                offers = self._offers[campaign_id] = ecu_images.load_offers(session, campaign_id)
            if len(self._offers) > _MAX_CAMPAIGNS:
                self._offers.popitem(last=False)
        return offers
