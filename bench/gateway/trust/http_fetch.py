"""Metadata and targets by HTTP, for ``repository``.

* A server that sends too slowly is abandoned (slow retrieval attack). python-tuf limits only the gap between two bytes.
* Contents are never decompressed, so that python-tuf's length limits apply to the bytes that arrive.
* Redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from tuf.api import exceptions as tuf_errors

from otabench.bench.gateway.trust.repository import Fetch


@dataclass(frozen=True)
class RateLimits:
    """The limits below which a server is too slow."""

    stall_s: float = 10.0
    """The longest time without a byte. The mean rate is judged only after this time."""
    min_bytes_per_s: float = 1024.0


def http_fetch(limits: RateLimits | None = None) -> Fetch:
    """Return a fetch by HTTP or HTTPS. Its connections live as long as it does."""
    chosen = limits or RateLimits()
    clients: dict[bool, httpx.Client] = {}

    def client_for(url: str) -> httpx.Client:
        # Certificates are loaded only where they are needed: that takes longer than the download of a small file.
        is_tls = url.startswith("https:")
        if is_tls not in clients:
            timeout = httpx.Timeout(chosen.stall_s)
            clients[is_tls] = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False, verify=is_tls)
        return clients[is_tls]

    def fetch(url: str) -> Iterator[bytes]:
        try:
            client = client_for(url)
            request = client.build_request("GET", url, headers={"Accept-Encoding": "identity"})
            answer = client.send(request, stream=True)
        except httpx.TimeoutException as error:
            raise tuf_errors.SlowRetrievalError(f"{url}: no answer for {chosen.stall_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise tuf_errors.DownloadError(f"{url}: {error}") from error
        if answer.status_code != httpx.codes.OK:
            answer.close()
            raise tuf_errors.DownloadHTTPError(f"{url}: status {answer.status_code}", answer.status_code)
        return _pieces(answer, chosen)

    return fetch


def _pieces(answer: httpx.Response, limits: RateLimits) -> Iterator[bytes]:
    started, received = time.monotonic(), 0
    try:
        for piece in answer.iter_raw():
            received += len(piece)
            yield piece
            elapsed_s = time.monotonic() - started
            if elapsed_s > limits.stall_s and received < limits.min_bytes_per_s * elapsed_s:
                raise tuf_errors.SlowRetrievalError(f"{received} bytes in {elapsed_s:.0f} s")
    except httpx.TimeoutException as error:
        raise tuf_errors.SlowRetrievalError(f"nothing arrived for {limits.stall_s:g} s") from error
    except httpx.HTTPError as error:
        raise tuf_errors.DownloadError(f"the connection broke: {error}") from error
    finally:
        # Also reached when python-tuf stops reading because the file is too long.
        answer.close()
