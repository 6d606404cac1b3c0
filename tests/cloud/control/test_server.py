"""What callers are told about a cloud that fails: the health service, and statuses without the inside of an error."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2

from otabench.cloud.control.answering import refusals_as_status
from otabench.cloud.control.server import GrpcServer
from otabench.cloud.errors import NotReady

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def test_health_follows_the_database() -> None:
    async def story() -> None:
        service = health.aio.HealthServicer()
        server = GrpcServer(grpc.aio.server(), service)
        await service.set("ota.v1.ControlPlane", SERVING)
        is_up = False

        async def check() -> None:
            if not is_up:
                raise NotReady("the database does not answer")

        reporting = asyncio.create_task(server.report_readiness(check, interval_s=0.001))
        await _until(service, NOT_SERVING)
        is_up = True
        await _until(service, SERVING)
        reporting.cancel()

    asyncio.run(story())


async def _until(service: health.aio.HealthServicer, status: int) -> None:
    async with asyncio.timeout(10):
        while (
            await service.Check(health_pb2.HealthCheckRequest(service="ota.v1.ControlPlane"), None)
        ).status != status:
            await asyncio.sleep(0.001)


def test_an_unexpected_error_ends_the_call_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async def note(code: grpc.StatusCode, _detail: str) -> None:
        refused.append(code)

    async def story() -> grpc.aio.AioRpcError:
        async def fail(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            async with refusals_as_status(context, "/test/Fail", note):
                raise RuntimeError("SELECT secret FROM vehicles")
            return b""

        server = grpc.aio.server()
        handler: Any = grpc.unary_unary_rpc_method_handler(fail)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Fail": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            fail_over_the_wire: Any = channel.unary_unary("/test/Fail")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await fail_over_the_wire(b"")
        await server.stop(None)
        return caught.value

    refused: list[grpc.StatusCode] = []
    with caplog.at_level(logging.ERROR):
        error = asyncio.run(story())

    assert [error.code()] == refused == [grpc.StatusCode.INTERNAL]
    assert "SELECT" not in (error.details() or "")
    assert "SELECT secret" in caplog.text
