"""What all gRPC services here share: who calls, and how a refusal becomes a status.

Decides the mapping only: ``RequestError.code`` names the status, its message is the detail, in one line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from otabench.cloud.control.identity import Caller, caller_of
from otabench.cloud.errors import RequestError

_MAX_DETAIL_CHARACTERS: Final = 2000
"""Characters; details travel in a header, whose size is bounded."""

Context = grpc.aio.ServicerContext[Any, Any]


@asynccontextmanager
async def refusals_as_status(context: Context) -> AsyncIterator[None]:
    """Ends the call with the status that a ``RequestError`` names."""
    try:
        yield
    except RequestError as error:
        await context.abort(grpc.StatusCode[error.code], " ".join(str(error).split())[:_MAX_DETAIL_CHARACTERS])


def caller(context: Context, *, tls: bool) -> Caller | None:
    """The subject of the peer's certificate; None without TLS.

    Raises:
        NotPermitted: the certificate cannot be read.
    """
    if not tls:
        return None
    return caller_of(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))
