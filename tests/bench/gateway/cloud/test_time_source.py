"""The gateway asks the cloud for the time, on behalf of itself and its ECUs, and goes on without an answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.bench.gateway.cloud.cloud_link import CloudLink
from otabench.bench.gateway.cloud.time_source import TimeSource
from otabench.cloud.trust.keys import raw_public
from otabench.proto import trace
from otabench.proto.time_attestation import verify
from otabench.proto.trace import TraceWriter
from otabench.proto.uptane import TimeKeys
from tests.bench.gateway.control_plane import ControlPlane

KEY = Ed25519PrivateKey.generate()
NONCE = bytes(range(16))


async def _ask(plane: ControlPlane, folder: Path, *, away: bool) -> tuple[bytes, bytes]:
    """Return the answers to the event loop, and to a worker thread."""
    await plane.start()
    link = CloudLink(target=f"127.0.0.1:{plane.port}", vin="V", tls=None, on_reachable=lambda _: None)
    if away:
        await plane.stop()
    source = TimeSource(link, TraceWriter(folder / "trace.jsonl", component="gateway"))
    try:
        own = await source.ask(NONCE, job_id="job-1")
        return own, await asyncio.to_thread(source.from_other_threads("job-1"), NONCE)
    finally:
        await link.close()
        await plane.stop()


def test_the_clouds_answer_is_passed_on_to_the_loop_and_to_threads(tmp_path: Path) -> None:
    plane = ControlPlane()
    plane.time_key = KEY
    for attestation in asyncio.run(_ask(plane, tmp_path, away=False)):
        assert verify(attestation, nonce=NONCE, keys=TimeKeys(keys=(raw_public(KEY),))) > 0


@pytest.mark.parametrize(("away", "words"), [(True, "UNAVAILABLE"), (False, "does not attest the time")])
def test_without_an_answer_the_trace_tells_why(tmp_path: Path, away: bool, words: str) -> None:
    assert asyncio.run(_ask(ControlPlane(), tmp_path, away=away)) == (b"", b"")
    events = [event for event in trace.read(tmp_path / "trace.jsonl") if event.event == "time.not_attested"]
    assert len(events) == 2
    assert all(words in str(event.data["reason"]) for event in events)
