"""Answer check-ins that change nothing, many with one read: almost all check-ins of a fleet.

    outcome = await reader.judge(request)
    if outcome is None:
        ...  # something has to be written: ``check_in.judge``, in a transaction of its own

The rules are those of ``check_in``. A check-in changes nothing if its report is the stored one, and its job, if any, was offered before.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy.orm import Session

from otabench.cloud.campaigns import check_in, ecu_images, snapshots
from otabench.cloud.campaigns.check_in import CheckInOutcome
from otabench.cloud.campaigns.manifests import PresentKeys
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
        # Of one database: a campaign's images never change.
        self._offers: OrderedDict[str, Sequence[Offer]] = OrderedDict()

    async def judge(self, request: ota_pb2.CheckInRequest) -> CheckInOutcome | None:
        """Return the answer, or None if something has to be written first.

        Raises:
            InvalidRequest: the VIN cannot be one.
            NotReady: the database does not answer.
        """
        return await self._batches.result_of(request)

    async def _judge_all(self, requests: Sequence[ota_pb2.CheckInRequest]) -> Sequence[CheckInOutcome | None]:
        return await self._database.read(lambda session: self._judge_now(session, requests))

    def _judge_now(
        self, session: Session, requests: Sequence[ota_pb2.CheckInRequest]
    ) -> Sequence[CheckInOutcome | None]:
        now = time.time()
        found = snapshots.load(session, list({request.vin for request in requests}))
        outcomes = []
        for request in requests:
            snapshot = found.get(request.vin)
            if snapshot and snapshot.manifest and not self._keys.have_signed(session, snapshot.manifest):
                # Then it counts as none, and another one is made.
                snapshot = replace(snapshot, manifest=None)
            job = snapshot.job if snapshot else None
            offers = self._load_offers(session, job.campaign_id) if job else ()
            outcomes.append(check_in.judge_unchanged(snapshot, request, offers, now=now))
        return outcomes

    def _load_offers(self, session: Session, campaign_id: str) -> Sequence[Offer]:
        offers = self._offers.get(campaign_id)
        if offers is None:
            offers = self._offers[campaign_id] = ecu_images.load_offers(session, campaign_id)
            if len(self._offers) > _MAX_CAMPAIGNS:
                self._offers.popitem(last=False)
        return offers
