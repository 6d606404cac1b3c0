"""Where attested time comes from: the cloud, asked for the gateway itself and for its ECUs.

An update goes on without an answer: each receiver then judges by the last time that was attested to it. The trace shows which case it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from otabench.bench.gateway.cloud.cloud_link import CloudLink
from otabench.bench.gateway.errors import CloudRefused, CloudUnreachable
from otabench.proto.trace import TraceWriter

_LIMIT_S: Final = 5.0
"""Of a whole question, with the pause that the cloud may have asked for."""


class TimeSource:
    """The attested time of one cloud. Used on the event loop."""

    def __init__(self, cloud: CloudLink, trace: TraceWriter) -> None:
        self._cloud = cloud
        self._trace = trace

    async def ask(self, nonce: bytes, *, job_id: str) -> bytes:
        """Return a time attestation for this nonce, not verified; empty if there is none now."""
        try:
            async with asyncio.timeout(_LIMIT_S):
                return await self._cloud.attest_time(nonce)
        except (CloudUnreachable, CloudRefused, TimeoutError) as error:
            self._trace.emit("time.not_attested", job_id=job_id, reason=str(error) or "the cloud answers too late")
            return b""

    def from_other_threads(self, job_id: str) -> Callable[[bytes], bytes]:
        """Return ``ask`` for a job, to be called from any thread but that of the event loop."""
        loop = asyncio.get_running_loop()

        def ask(nonce: bytes) -> bytes:
            try:
                return asyncio.run_coroutine_threadsafe(self.ask(nonce, job_id=job_id), loop).result(2 * _LIMIT_S)
            except TimeoutError:  # the event loop is about to end
                return b""

        return ask
