"""Repeated requests: a caller that did not receive the answer repeats its call with the same ``request_id``, and gets the same campaign.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.errors import InvalidRequest
from otabench.cloud.names import require_safe_name
from otabench.cloud.store.schema import CampaignRow
from otabench.proto import ota_pb2


def find_campaign(session: Session, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign | None:
    """Return the campaign that an earlier call with the same ``request_id`` has created, or None.

    Raises:
        InvalidRequest: the id cannot be one, or the earlier request was another one.
    """
    if not request.request_id:
        return None
    try:
        require_safe_name(request.request_id, "request_id")
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    row = session.scalars(select(CampaignRow).where(CampaignRow.request_id == request.request_id)).first()
    if row is None:
        return None
    if row.request_sha256 != digest(request):
        raise InvalidRequest(
            f"request_id {request.request_id} belongs to another request, which created campaign {row.campaign_id}: choose a new id"
        )
    return jobs.campaign_message(session, row.campaign_id)


def digest(request: ota_pb2.CreateCampaignRequest) -> str:
    """Return the digest of a request. Equal requests of one program have equal digests."""
    if not request.request_id:
        return ""
    if request.where:
        # Other vehicles may match when the call is repeated. It is the same call all the same.
        given, request = request, ota_pb2.CreateCampaignRequest()
        request.CopyFrom(given)
        del request.vins[:]
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
