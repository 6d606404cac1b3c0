"""Authenticate the caller of a gRPC call, and turn refusals into gRPC statuses. Both services use this module.

``RequestError.code`` is the name of the status. The error's message becomes its detail, in one line. Any other exception is a fault of
the cloud: it is logged, and its text stays here, because it may contain SQL or paths.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from otabench.cloud.control.identity import Caller, caller_of, require_operator, require_vehicle
from otabench.cloud.errors import RequestError

_log = logging.getLogger(__name__)
_MAX_DETAIL_CHARACTERS: Final = 2000
"""Details travel in an HTTP/2 header, whose size is limited."""

Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def operator_call(context: Context, *, tls: bool) -> AsyncIterator[None]:
    """Run the block as an operator's call. End the call with a status if the caller is not an operator or the block raises RequestError."""
    async with _refusals_as_status(context):
        require_operator(_caller(context, tls=tls))
        yield


@asynccontextmanager
async def vehicle_call(context: Context, vin: str, *, tls: bool) -> AsyncIterator[None]:
    """Run the block as a vehicle's call. End the call with a status if the caller is not that vehicle or the block raises RequestError."""
    async with _refusals_as_status(context):
        require_vehicle(_caller(context, tls=tls), vin)
        yield


@asynccontextmanager
async def _refusals_as_status(context: Context) -> AsyncIterator[None]:
    try:
        yield
    except RequestError as error:
        # abort raises. The detail becomes a header, in which line breaks are not allowed.
        await context.abort(grpc.StatusCode[error.code], " ".join(str(error).split())[:_MAX_DETAIL_CHARACTERS])
    except Exception:  # noqa: BLE001 (gRPC would send the exception's text to the caller)
        _log.exception("a call ends with INTERNAL")
        await context.abort(grpc.StatusCode.INTERNAL, "the cloud failed; its log has the reason")


def _caller(context: Context, *, tls: bool) -> Caller | None:
    """Return the subject of the peer's certificate, or None without TLS."""
    if not tls:
        return None
    # The first certificate of the chain is the peer's own.
    return caller_of(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))
