"""Authenticate the caller of a gRPC call, and turn refusals into gRPC statuses.

The services ControlPlane (for vehicles) and Operator use this module.

``RequestError.code`` is the name of the status. The error's message becomes its detail, in one line. Any other exception is a fault of
the cloud: it is logged, and its text stays here, because it may contain SQL or paths.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from otabench.cloud.control.identity import OPERATORS, READERS, Caller, caller_of, require_operator, require_vehicle
from otabench.cloud.errors import RequestError, TooManyCalls
from otabench.proto.foreign_text import printable
from otabench.proto.message_limits import RETRY_PUSHBACK_KEY

_log = logging.getLogger(__name__)
_MAX_DETAIL_CHARACTERS: Final = 2000
"""Details travel in an HTTP/2 header, whose size is limited."""

EVERYBODY: Final = "everybody (no TLS)"
"""Who has called, where callers have no certificates."""

Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def operator_call(
    context: Context, *, tls: bool, units: frozenset[str] = OPERATORS
) -> AsyncIterator[Caller | None]:
    """Run the block as a call of somebody with one of these roles, and give it the caller; None without TLS.

    Raises:
        NotPermitted: the caller has another role.
    """
    caller = peer_of(context, tls=tls)
    require_operator(caller, units)
    yield caller


@asynccontextmanager
async def reading_call(context: Context, *, tls: bool) -> AsyncIterator[None]:
    """Run the block as a call that only reads.

    Raises:
        NotPermitted: the caller is neither operator nor approver nor viewer.
    """
    require_operator(peer_of(context, tls=tls), READERS)
    yield


@asynccontextmanager
async def vehicle_call(context: Context, vin: str, *, tls: bool) -> AsyncIterator[None]:
    """Run the block as a vehicle's call.

    Raises:
        NotPermitted: the caller is not that vehicle.
    """
    require_vehicle(peer_of(context, tls=tls), vin)
    yield


@asynccontextmanager
async def refusals_as_status(
    context: Context, method: str, on_refusal: Callable[[grpc.StatusCode, str], Awaitable[None]]
) -> AsyncIterator[None]:
    """End the call with a status if the block raises RequestError, and log the refusal in one line.

    ``on_refusal`` (the audit log) is called with status and reason before the answer is sent, so that a crash in between does not lose
    the record. For ``TooManyCalls`` the trailing metadata contains how long the caller must wait (gRFC A6: server pushback).
    """
    try:
        yield
    except RequestError as error:
        # The detail becomes a header, in which line breaks are not allowed.
        detail = " ".join(str(error).split())[:_MAX_DETAIL_CHARACTERS]
        _log.warning("refused: %s", printable(f"{method} {error.code} {detail}"))
        code = grpc.StatusCode[error.code]
        await on_refusal(code, detail)
        trailing: tuple[tuple[str, str], ...] = ()
        if isinstance(error, TooManyCalls):
            # + 1: rounded up, or a caller that waits exactly this long is refused again.
            trailing = ((RETRY_PUSHBACK_KEY, str(int(error.retry_after_s * 1000) + 1)),)
        # abort raises.
        await context.abort(code, detail, trailing)
    except grpc.aio.AbortError:
        # The call has its status already.
        raise
    except Exception:  # noqa: BLE001 (gRPC would send the exception's text to the caller)
        _log.exception("a call ends with INTERNAL")
        await on_refusal(grpc.StatusCode.INTERNAL, "")
        await context.abort(grpc.StatusCode.INTERNAL, "the cloud failed; its log has the reason")


def peer_of(context: Context, *, tls: bool) -> Caller | None:
    """Return the caller that the peer's certificate names, or None without TLS.

    None passes every ``require_…`` (``identity``): without TLS there is no identity to check, so anybody may call.

    Raises:
        NotPermitted: the certificate cannot be read.
    """
    if not tls:
        return None
    # The first certificate of the chain is the peer's own.
    return caller_of(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))
