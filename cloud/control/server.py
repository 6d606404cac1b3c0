"""The gRPC server: both services, health and reflection on one port.

With TLS every client needs a certificate of the bench's CA. Without TLS the port is bound to loopback only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from otabench.cloud.control.admission import Admission
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.control.operator import Operator
from otabench.cloud.control.quotas import MAX_CONCURRENT_CALLS
from otabench.cloud.control.vehicles import ControlPlane
from otabench.cloud.errors import RequestError, StartError
from otabench.cloud.ports import is_loopback, require_free_port
from otabench.proto import ota_pb2, ota_pb2_grpc, private_files
from otabench.proto.message_limits import MAX_OPERATOR_MESSAGE_BYTES
from otabench.proto.process_config import TlsConfig

_STOP_GRACE_S: Final = 0.2
_CHECK_TIMEOUT_S: Final = 3.0
_OPTIONS: Final = (
    # The limit holds for every method, because grpc.aio has one limit per server. ``admission`` has a smaller one for vehicles.
    ("grpc.max_receive_message_length", MAX_OPERATOR_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_OPERATOR_MESSAGE_BYTES),
    # On by default. Then a second cloud would share the port silently, and each would receive some of the calls.
    ("grpc.so_reuseport", 0),
)
_log = logging.getLogger(__name__)
_SERVICES: Final = tuple(service.full_name for service in ota_pb2.DESCRIPTOR.services_by_name.values())


class GrpcServer:
    """The running server."""

    def __init__(self, server: grpc.aio.Server, health_service: health.aio.HealthServicer) -> None:
        self._server = server
        self._health = health_service

    async def report_readiness(self, check: Callable[[], Awaitable[None]], *, interval_s: float) -> None:
        """Keep the health service up to date until canceled: NOT_SERVING while ``check`` raises NotReady or does not return.

        A balancer then sends calls to other replicas.
        """
        was_ready = True
        while True:
            await asyncio.sleep(interval_s)
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await check()
                is_ready = True
            except (RequestError, TimeoutError) as error:
                is_ready = False
                if was_ready:
                    _log.error("not ready: %s", error or "the database does not answer in time")
            if is_ready != was_ready:
                await _set_health(self._health, is_ready=is_ready)
            was_ready = is_ready

    async def stop(self) -> None:
        """Report NOT_SERVING, give running calls a moment to end, and close the port."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_STOP_GRACE_S)


async def start_grpc_server(
    *, host: str, port: int, tls: TlsConfig | None, control_plane: ControlPlane, operator: Operator, auditor: Auditor
) -> GrpcServer:
    """Bind the port and serve.

    Raises:
        StartError: the port is in use, the host is not loopback without TLS, or a TLS file is missing or wrong.
    """
    if tls is None and not is_loopback(host):
        raise StartError(f"grpc_host {host!r}: without tls the control plane is served on loopback only: configure tls")
    # gRPC's own error does not name the setting.
    require_free_port(host, port, what="control plane (grpc_port)")
    server = grpc.aio.server(
        interceptors=[Admission(tls=tls is not None, auditor=auditor)],
        options=_OPTIONS,
        maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
    )
    ota_pb2_grpc.add_ControlPlaneServicer_to_server(control_plane, server)  # type: ignore[no-untyped-call]
    ota_pb2_grpc.add_OperatorServicer_to_server(operator, server)  # type: ignore[no-untyped-call]
    health_service = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, _credentials(tls))
        await server.start()
    except (RuntimeError, ValueError) as error:
        raise StartError(f"control plane: cannot serve on {address}: {error}") from error
    await _set_health(health_service, is_ready=True)
    return GrpcServer(server, health_service)


async def _set_health(health_service: health.aio.HealthServicer, *, is_ready: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
    # The empty name stands for the whole server (gRPC health checking protocol).
    for service in ("", *_SERVICES):
        await health_service.set(service, status)


def _credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    try:
        private_files.require_private(tls.key)
    except private_files.PrivateFileError as error:
        raise StartError(f"tls: {error}") from error
    ca, certificate, key = _read(tls.ca), _read(tls.certificate), _read(tls.key)
    try:
        # Parse the files here first, because gRPC's own error does not name the file.
        x509.load_pem_x509_certificate(ca)
        public = x509.load_pem_x509_certificate(certificate).public_key()
        if load_pem_private_key(key, password=None).public_key() != public:
            raise StartError(f"tls: {tls.key} is not the key of {tls.certificate}")
    except (ValueError, TypeError) as error:
        raise StartError(f"tls: {tls.ca}, {tls.certificate} or {tls.key} is not PEM as expected: {error}") from error
    return grpc.ssl_server_credentials([(key, certificate)], root_certificates=ca, require_client_auth=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"tls: cannot read {path}: {error.strerror or error}") from error
