"""Jobs and campaigns for the operator, page by page.

    list_jobs(session, ota_pb2.ListJobsRequest(campaign_id="campaign-1", states=[...], vin_prefix="W0T", page_size=100))

A page ends with a token, from which the next one goes on. Jobs that are added or change meanwhile neither repeat nor hide others, because a
token names the last entry instead of counting. Every function works inside the caller's transaction.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import jobs
from otabench.cloud.errors import InvalidRequest, UnknownThing
from otabench.cloud.store.schema import CampaignRow, JobRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState, from_wire

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000


def list_jobs(session: Session, request: ota_pb2.ListJobsRequest) -> ota_pb2.ListJobsResponse:
    """Return one page of jobs, in the order of their VINs.

    Raises:
        UnknownThing: the campaign does not exist.
        InvalidRequest: a state, the size or the token is wrong.
    """
    size = _size_of(request.page_size) or DEFAULT_PAGE
    wanted = select(JobRow).order_by(JobRow.vin, JobRow.job_id).limit(size + 1)
    if request.campaign_id:
        if session.get(CampaignRow, request.campaign_id) is None:
            raise UnknownThing(f"there is no campaign {request.campaign_id!r}")
        wanted = wanted.where(JobRow.campaign_id == request.campaign_id)
    if request.states:
        wanted = wanted.where(JobRow.state.in_([str(_state_of(number)) for number in request.states]))
    if request.vin_prefix:
        # Not LIKE, in which "_" is a placeholder and which uses no index.
        wanted = wanted.where(func.substr(JobRow.vin, 1, len(request.vin_prefix)) == request.vin_prefix)
    if request.page_token:
        vin, job_id = _read_token(request.page_token, parts=2)
        wanted = wanted.where(tuple_(JobRow.vin, JobRow.job_id) > (vin, job_id))
    rows = session.scalars(wanted).all()
    answer = ota_pb2.ListJobsResponse(jobs=[jobs.job_message(row, campaign_id=row.campaign_id) for row in rows[:size]])
    if len(rows) > size:
        last = rows[size - 1]
        answer.next_page_token = _token(last.vin, last.job_id)
    return answer


def list_campaigns(session: Session, request: ota_pb2.ListCampaignsRequest) -> ota_pb2.ListCampaignsResponse:
    """Return campaigns in the order of their creation: all of them, or one page.

    Raises:
        InvalidRequest: the size or the token is wrong.
    """
    size = _size_of(request.page_size)
    wanted = select(CampaignRow).order_by(CampaignRow.created_at, CampaignRow.campaign_id)
    if size:
        wanted = wanted.limit(size + 1)
    if request.page_token:
        created_at, campaign_id = _read_token(request.page_token, parts=2)
        try:
            after = float(created_at)
        except ValueError as error:
            raise InvalidRequest("page_token: give the next_page_token of the page before") from error
        wanted = wanted.where(tuple_(CampaignRow.created_at, CampaignRow.campaign_id) > (after, campaign_id))
    rows = session.scalars(wanted).all()
    shown = rows[:size] if size else rows
    answer = ota_pb2.ListCampaignsResponse(
        campaigns=[jobs.campaign_message(session, row.campaign_id, with_jobs=not request.without_jobs) for row in shown]
    )
    if len(rows) > len(shown):
        answer.next_page_token = _token(repr(shown[-1].created_at), shown[-1].campaign_id)
    return answer


def _size_of(given: int) -> int:
    if given > MAX_PAGE:
        raise InvalidRequest(f"page_size {given}: {MAX_PAGE} at most")
    return given


def _state_of(number: int) -> JobState:
    try:
        return from_wire(number)
    except ValueError as error:
        # Enumerations of proto3 are open: any number may arrive.
        raise InvalidRequest(f"states: {number} is not a job state of this cloud") from error


def _token(*parts: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _read_token(token: str, *, parts: int) -> Sequence[str]:
    try:
        read = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        read = None
    if not isinstance(read, list) or len(read) != parts or not all(isinstance(each, str) for each in read):
        raise InvalidRequest("page_token: give the next_page_token of the page before")
    return read
