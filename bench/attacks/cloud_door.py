"""The cloud as an attacker reaches it: any call with any certificate, any bytes to the artifact server."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from otabench.bench.attacks.parties import Guard
from otabench.proto import ota_pb2, ota_pb2_grpc

_CALL_S: Final = 20.0


class CloudSaysNo(Exception):
    """The cloud refused.

    Attributes:
        guard: which part.
        refusal: the name of the gRPC status, or "status 404".
    """

    def __init__(self, guard: Guard, refusal: str, text: str) -> None:
        super().__init__(text)
        self.guard = guard
        self.refusal = refusal


@dataclass(frozen=True)
class CloudDoor:
    """Addresses of a cloud, and the folder of the certificates that are stolen.

    Attributes:
        grpc_address: host:port.
        artifacts_url: of the artifact server.
        tls_dir: ``tls`` of the key folder.
        vin: a vehicle whose certificate is there.
        other_vin: a vehicle that is somebody else's.
    """

    grpc_address: str
    artifacts_url: str
    tls_dir: Path
    vin: str
    other_vin: str
    channels: dict[str, grpc.Channel] = field(default_factory=dict)

    def vehicle_call(self, method: str, request: Any) -> Any:
        """Call ``ControlPlane`` with the vehicle's certificate. Raises CloudSaysNo."""
        stub = ota_pb2_grpc.ControlPlaneStub(self._channel(f"vehicle-{self.vin}"))  # type: ignore[no-untyped-call]
        return _called(getattr(stub, method), request)

    def operator_call(self, method: str, request: Any, *, certificate: str) -> Any:
        """Call ``Operator`` with a certificate of that name. Raises CloudSaysNo."""
        stub = ota_pb2_grpc.OperatorStub(self._channel(certificate))  # type: ignore[no-untyped-call]
        return _called(getattr(stub, method), request)

    def get(self, path: str) -> bytes:
        """Request a path of the artifact server exactly as it is written.

        Raises:
            CloudSaysNo: the status is not 200.
        """
        # A library would tidy the path first.
        where = urlsplit(self.artifacts_url)
        with socket.create_connection((where.hostname or "", where.port or 80), timeout=_CALL_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: attacker\r\nConnection: close\r\n\r\n".encode("latin-1"))
            answer = b""
            while piece := connection.recv(65_536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1].decode() if head.startswith(b"HTTP/") else "none"
        if status != "200":
            raise CloudSaysNo(Guard.ARTIFACT_SERVER, f"status {status}", f"GET {path} is answered by status {status}")
        return body

    def close(self) -> None:
        """Close all connections."""
        for channel in self.channels.values():
            channel.close()
        self.channels.clear()

    def check_in(self, vin: str) -> ota_pb2.CheckInRequest:
        """Return a check-in of a vehicle."""
        return ota_pb2.CheckInRequest(vin=vin)

    def _channel(self, certificate: str) -> grpc.Channel:
        if certificate not in self.channels:
            credentials = grpc.ssl_channel_credentials(
                (self.tls_dir / "ca.pem").read_bytes(),
                (self.tls_dir / f"{certificate}.key").read_bytes(),
                (self.tls_dir / f"{certificate}.pem").read_bytes(),
            )
            limit = 64 * 1024 * 1024
            options = [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]
            self.channels[certificate] = grpc.secure_channel(self.grpc_address, credentials, options)
        return self.channels[certificate]


def _called(method: Any, request: Any) -> Any:
    try:
        return method(request, timeout=_CALL_S, wait_for_ready=True)
    except grpc.RpcError as error:
        code = error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
        raise CloudSaysNo(
            Guard.CLOUD, code, f"{code}: {error.details() if isinstance(error, grpc.Call) else error}"
        ) from error
