"""The gateway keeps to the cloud's limits, and to the pause that the cloud asks for."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from otabench.bench.gateway.cloud.cloud_link import CloudLink
from otabench.bench.gateway.cloud.reporter import status_request
from otabench.bench.gateway.errors import CloudUnreachable
from otabench.proto import ota_pb2
from otabench.proto.job_states import JobState
from otabench.proto.message_limits import RETRY_PUSHBACK_KEY, check_fields
from tests.bench.gateway.control_plane import ControlPlane

_PAUSE_S = 0.4


class _BusyOnce(ControlPlane):
    async def CheckIn(self, request: ota_pb2.CheckInRequest, context: Any) -> ota_pb2.CheckInResponse:
        self.check_ins.append(request)
        if len(self.check_ins) == 1:
            trailing = ((RETRY_PUSHBACK_KEY, str(int(_PAUSE_S * 1000))),)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls", trailing)
        return ota_pb2.CheckInResponse()


async def _call_twice() -> tuple[float, int]:
    plane = _BusyOnce()
    await plane.start()
    link = CloudLink(target=f"127.0.0.1:{plane.port}", vin="V", tls=None, on_reachable=lambda _: None)
    try:
        with pytest.raises(CloudUnreachable):
            await link.check_in({})
        refused_s = time.monotonic()
        async with asyncio.timeout(20):
            await link.check_in({})
        waited_s = time.monotonic() - refused_s
    finally:
        await link.close()
        await plane.stop()
    return waited_s, len(plane.check_ins)


def test_the_next_call_waits_for_as_long_as_the_cloud_asks() -> None:
    waited_s, calls = asyncio.run(_call_twice())

    assert waited_s >= _PAUSE_S
    assert calls == 2


def test_a_long_reason_is_cut_because_the_cloud_would_refuse_the_report() -> None:
    job = SimpleNamespace(job_id="job-1", state=JobState.FAILED, seq=3, reason="engine: " + "é" * 5000)

    request = status_request("V", cast(Any, job))

    check_fields(request)
    assert request.reason.startswith("engine: éé")
