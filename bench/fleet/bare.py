"""The process of comparison: a bare grpc.aio server with the same TLS and messages, which answers without looking at anything.

python -m otabench.bench.fleet.bare PORT TLS_FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from otabench.bench.ports import LOOPBACK
from otabench.proto import ota_pb2, ota_pb2_grpc


class Bare(ota_pb2_grpc.ControlPlaneServicer):
    """Constant answers."""

    async def CheckIn(self, request: ota_pb2.CheckInRequest, context: Any) -> ota_pb2.CheckInResponse:
        return ota_pb2.CheckInResponse(
            decision=ota_pb2.CheckInResponse.DECISION_NO_UPDATE,
            reason="no campaign waits for this vehicle",
            poll_interval_s=10,
        )

    async def UpdateStatus(self, request: ota_pb2.UpdateStatusRequest, context: Any) -> ota_pb2.UpdateStatusResponse:
        return ota_pb2.UpdateStatusResponse(state=request.state)


async def serve(port: int, tls: Path) -> None:
    """Serve until the process is killed."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    ota_pb2_grpc.add_ControlPlaneServicer_to_server(Bare(), server)  # type: ignore[no-untyped-call]
    pair = ((tls / "cloud.key").read_bytes(), (tls / "cloud.pem").read_bytes())
    authority = (tls / "ca.pem").read_bytes()
    server.add_secure_port(
        f"{LOOPBACK}:{port}",
        grpc.ssl_server_credentials([pair], root_certificates=authority, require_client_auth=True),
    )
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
