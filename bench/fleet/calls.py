"""Calls of one vehicle: its own TLS connection, repetition as a gateway repeats, and every attempt measured.

    async with Connection(targets, authority, pair, measured=measured) as connection:
        answer = await connection.call(CHECK_IN, request)

``targets`` are all control planes. A connection uses the first one that answers, and the next one when that is killed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

# gRPC reads this at its import.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf.message import Message

from otabench.bench.backoff import Backoff
from otabench.bench.deadline import Deadline
from otabench.bench.fleet.certificates import Pair
from otabench.bench.fleet.measurements import Measurements
from otabench.proto import ota_pb2

Answer = TypeVar("Answer", bound=Message)

CALL_TIMEOUT_S: Final = 10.0
_DEFINITE: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""The same call would end the same way again."""
_FIRST_PAUSE_S: Final = 0.2
_MAX_PAUSE_S: Final = 3.0
_OPTIONS: Final = (
    # The names of the cloud's certificate are those of loopback, whatever port it has.
    ("grpc.ssl_target_name_override", "localhost"),
    # Without a pool of its own a channel would share the connection, and so the certificate, of an equal one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Refused(Exception):
    """The server has answered, and the same call would be answered so again. ``status`` is the name of gRPC's code."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status


@dataclass(frozen=True)
class Method(Generic[Answer]):
    """A method of the control plane.

    Attributes:
        name: as figures name it.
        path: as gRPC names it.
        decode: of the answer.
    """

    name: str
    path: str
    decode: Callable[[bytes], Answer]


def _method(service: str, name: str, answer: type[Answer]) -> Method[Answer]:
    full_name = ota_pb2.DESCRIPTOR.services_by_name[service].full_name
    return Method(name, f"/{full_name}/{name}", answer.FromString)


CHECK_IN: Final = _method("ControlPlane", "CheckIn", ota_pb2.CheckInResponse)
GET_MANIFEST: Final = _method("ControlPlane", "GetManifest", ota_pb2.GetManifestResponse)
UPDATE_STATUS: Final = _method("ControlPlane", "UpdateStatus", ota_pb2.UpdateStatusResponse)
REGISTER: Final = _method("Operator", "RegisterVehicle", ota_pb2.RegisterVehicleResponse)


class Connection:
    """A connection with one certificate.

    Args:
        targets: host:port of each control plane, the preferred one first.
        authority: the CA's certificate, PEM.
        pair: the caller's certificate and key.
        measured: where every attempt is noted.
        patience: until when a call is repeated that may succeed later.
    """

    def __init__(
        self, targets: Sequence[str], authority: bytes, pair: Pair, *, measured: Measurements, patience: Deadline
    ) -> None:
        credentials = grpc.ssl_channel_credentials(authority, pair[1].encode(), pair[0].encode())
        self._channel = grpc.aio.secure_channel(f"ipv4:{','.join(targets)}", credentials, list(_OPTIONS))
        self._measured = measured
        self._patience = patience

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def call(self, method: Method[Answer], request: Message) -> Answer:
        """Call until the call is answered.

        Raises:
            Refused: the call would always end so.
            TimeoutError: it did not succeed until the end of the patience.
        """
        backoff = Backoff(first_s=_FIRST_PAUSE_S, max_s=_MAX_PAUSE_S)
        while True:
            try:
                return await self.call_once(method, request)
            except grpc.aio.AioRpcError as error:
                if error.code() in _DEFINITE:
                    raise Refused(error.code().name, error.details() or "") from error
                if self._patience.has_passed():
                    raise TimeoutError(f"{method.name}: {error.code().name}: {error.details()}") from error
            await asyncio.sleep(backoff.next_s())

    async def call_once(self, method: Method[Answer], request: Message) -> Answer:
        """Call once.

        Raises:
            AioRpcError: the call was not answered.
        """
        call: Any = self._channel.unary_unary(
            method.path, request_serializer=type(request).SerializeToString, response_deserializer=method.decode
        )
        began = time.perf_counter()
        try:
            answer: Answer = await call(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._measured.add_error(method.name, error.code().name)
            raise
        self._measured.add(method.name, time.perf_counter() - began)
        return answer
