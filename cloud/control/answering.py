"""What the gRPC services share: whose call it is, and how a refusal becomes a status.

``RequestError.code`` names the status, and the error's message becomes its detail, in one line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from otabench.cloud.control.identity import Caller, caller_of, require_operator, require_vehicle
from otabench.cloud.errors import RequestError

_MAX_DETAIL_CHARACTERS: Final = 2000
"""Details travel in an HTTP/2 header, whose size is limited."""

Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def operator_call(context: Context, *, tls: bool) -> AsyncIterator[None]:
    """Run the body of an operator's call. A ``RequestError`` in it, or a caller who is not an operator, ends the call."""
    async with _refusals_as_status(context):
        require_operator(_caller(context, tls=tls))
        yield


@asynccontextmanager
async def vehicle_call(context: Context, vin: str, *, tls: bool) -> AsyncIterator[None]:
    """Run the body of a vehicle's call. A ``RequestError`` in it, or a caller who is not that vehicle, ends the call."""
    async with _refusals_as_status(context):
        require_vehicle(_caller(context, tls=tls), vin)
        yield


@asynccontextmanager
async def _refusals_as_status(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except RequestError as error:
        # abort raises, so nothing after it runs. Line breaks are not allowed in a header.
        await context.abort(grpc.StatusCode[error.code], " ".join(str(error).split())[:_MAX_DETAIL_CHARACTERS])


def _caller(context: Context, *, tls: bool) -> Caller | None:
    """Return the subject of the peer's certificate, or None without TLS."""
    if not tls:
        return None
    # The first certificate of the chain is the peer's own.
    return caller_of(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))
