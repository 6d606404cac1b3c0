"""Who may use the API: callers with a session, or with the pairing code itself.

``Access`` judges each request before the application sees it. It leaves the caller's name in the scope (``caller_of``), and answers
``/api/…`` with 401 where there is none. The page ``/`` decides by itself: without a caller it is the pairing form. Static files and
``/healthz`` hold nothing about the vehicle and are for everybody.

Wrong codes are limited for each address. While an address has to wait, no code of it is looked at; sessions go on.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from otabench.bench.gateway.hmi.connections import Connections
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.rate_limit import RateLimit

NOT_PAIRED: Final = (
    "This display is not paired with the vehicle. Open the link that the bench printed, or send the pairing code as "
    "'Authorization: Bearer CODE'."
)
WRONG_CODE: Final = "That is not the pairing code of this vehicle."
_OPEN_API: Final = "/api/pair"
_CALLER: Final = "otabench.caller"
_BEARER: Final = "bearer "


class TooMany(Exception):
    """The caller has to wait. ``retry_after_s`` is a whole number of seconds."""

    def __init__(self, what: str, wait_s: float) -> None:
        self.retry_after_s = math.ceil(wait_s)
        super().__init__(f"Too many {what}. Try again in {self.retry_after_s} s.")


class Gatekeeper:
    """The judge of codes and sessions. It counts wrong codes and decisions.

    Args:
        pairing: the code, and the sessions it opened.
        connections: learn which of them are paired.
    """

    def __init__(self, pairing: Pairing, connections: Connections) -> None:
        self.pairing = pairing
        self.connections = connections
        self._wrong_codes = RateLimit(burst=10, per_s=0.2)
        self._decisions = RateLimit(burst=20, per_s=2.0)

    def accepts_code(self, code: str, scope: Scope) -> bool:
        """Return whether the code is right.

        Raises:
            TooMany: this address has sent too many wrong ones.
        """
        address = (scope.get("client") or ("", 0))[0]
        now_s = time.monotonic()
        wait_s = self._wrong_codes.wait_s(address, now_s=now_s)
        if wait_s > 0:
            raise TooMany("wrong pairing codes", wait_s)
        if self.pairing.accepts(code):
            return True
        self._wrong_codes.spend(address, now_s=now_s)
        return False

    def count_decision(self, caller: str) -> None:
        """Count a decision of this caller.

        Raises:
            TooMany: there were too many.
        """
        now_s = time.monotonic()
        wait_s = self._decisions.wait_s(caller, now_s=now_s)
        if wait_s > 0:
            raise TooMany("decisions", wait_s)
        self._decisions.spend(caller, now_s=now_s)

    def caller(self, scope: Scope) -> str | None:
        """Return the name under which this request's sender is counted; None: it has neither session nor code.

        Raises:
            TooMany: as ``accepts_code``.
        """
        headers = Headers(scope=scope)
        token = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers.get("host", "")), "")
        if self.pairing.is_session(token):
            return hashlib.sha256(token.encode()).hexdigest()
        authorization = headers.get("authorization", "")
        if authorization.lower().startswith(_BEARER) and self.accepts_code(authorization[len(_BEARER) :], scope):
            return "bearer"
        return None


def cookie_name(host_header: str) -> str:
    """Return the name of the session's cookie. It has the port in it, because a browser sends cookies to all ports of a host."""
    return f"otabench_hmi_{urlsplit(f'//{host_header}').port or 80}"


def caller_of(scope: Scope) -> str | None:
    """Return the caller that ``Access`` found; None: the request is not paired."""
    caller: str | None = scope[_CALLER]
    return caller


def too_many(error: TooMany) -> JSONResponse:
    """Return the answer 429, with the time to wait."""
    return JSONResponse({"error": str(error)}, status_code=429, headers={"Retry-After": str(error.retry_after_s)})


class Access:
    """ASGI middleware; see the module. It comes after ``Guard``, which has judged the Host header."""

    def __init__(self, app: ASGIApp, gatekeeper: Gatekeeper) -> None:
        self._app, self._gatekeeper = app, gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            caller = self._gatekeeper.caller(scope)
        except TooMany as error:
            await too_many(error)(scope, receive, send)
            return
        scope[_CALLER] = caller
        if caller is not None and scope.get("client"):
            self._gatekeeper.connections.paired(tuple(scope["client"]))
        path: str = scope["path"]
        if caller is None and path.startswith("/api/") and path != _OPEN_API:
            await JSONResponse({"error": NOT_PAIRED}, status_code=401)(scope, receive, send)
            return
        await self._app(scope, receive, send)
