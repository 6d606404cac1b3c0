"""Which requests the HMI accepts, and the security headers of its answers.

The headers alone show whether a request is meant for this page (``foreign_host``) and whether a decision comes from the page itself
(``foreign_origin``). They do not show who sends it: ``access`` asks for the session.

Rules:

* DNS rebinding: a page of another site can make its own name point at this address, but cannot make the browser send another
  Host header than that name. So Host must be ``localhost``, a loopback address, or the very IP address the connection came in on. The
  port is not compared: a forwarded port differs from ours.
* Cross-site requests: a browser names the site that a request comes from in Origin and Sec-Fetch-Site, and a page cannot change either.
  A client that sends neither is not a browser (curl, a test) and is let through.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS: Final[dict[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def _host_name(host_header: str) -> str | None:
    """Return the name or address of a Host header, without port and brackets; None where it is malformed."""
    try:
        parts = urlsplit(f"//{host_header}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname


def foreign_host(host_header: str | None, *, local_address: str | None) -> bool:
    """Return whether a Host header names anything but this HMI.

    Args:
        host_header: as received; None where there was none.
        local_address: the IP address the connection came in on; None or a name where it is not known.
    """
    name = _host_name(host_header) if host_header else None
    if name is None:
        return True
    if name == "localhost":
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return True
    if str(address) in ("127.0.0.1", "::1"):
        return False
    try:
        return local_address is None or address != ipaddress.ip_address(local_address)
    except ValueError:
        return True


def foreign_origin(origin: str | None, fetch_site: str | None, *, host_header: str) -> bool:
    """Return whether a browser marks the request as coming from another site than this page.

    Args:
        origin: the Origin header; None where there was none.
        fetch_site: the Sec-Fetch-Site header; None where there was none.
        host_header: the Host header of the same request, already judged.
    """
    if fetch_site is not None and fetch_site != "same-origin":
        return True
    if origin is None:
        return False
    scheme, separator, authority = origin.partition("://")
    return not separator or scheme not in ("http", "https") or authority.lower() != host_header.lower()


class Guard:
    """ASGI middleware: refuses foreign hosts and origins with 403, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-cache")  # a new gateway never meets an old page
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await JSONResponse({"error": refusal}, status_code=403)(scope, receive, send_guarded)

    @staticmethod
    def _refusal(scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host")
        server = scope.get("server")
        if host is None or foreign_host(host, local_address=server[0] if server else None):
            return "This display answers on localhost or on its own IP address only. Open it by one of them."
        if scope["method"] not in ("GET", "HEAD") and foreign_origin(
            headers.get("origin"), headers.get("sec-fetch-site"), host_header=host
        ):
            return "Decisions are taken from this display's own page only."
        return None
