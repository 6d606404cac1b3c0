"""Admit a call before its service sees it: who calls, how often, how large the message is, and whether it can be decoded.

Every method of the port passes here, health and reflection too. A refusal is a status and one line in the log, never a traceback.

Vehicles and operators share a port, and gRPC has one size limit for all methods of a server. So gRPC receives up to the operator's limit,
and a vehicle's message that is too large is dropped here, before it is decoded. Decoding is what takes the time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from otabench.cloud.control.answering import EVERYBODY, Context, peer_of, refusals_as_status
from otabench.cloud.control.auditing import Auditor
from otabench.cloud.control.identity import READERS
from otabench.cloud.control.quotas import OPERATOR, VEHICLE, Quota, Quotas
from otabench.cloud.errors import InvalidRequest, NotPermitted
from otabench.proto import message_limits as limits
from otabench.proto import ota_pb2

_OPERATOR_PREFIX: Final = f"/{ota_pb2.DESCRIPTOR.services_by_name['Operator'].full_name}/"
_VEHICLE_PREFIX: Final = f"/{ota_pb2.DESCRIPTOR.services_by_name['ControlPlane'].full_name}/"
_BYTES_PER_TOKEN: Final = 16 * 1024
"""A large message costs more of a vehicle's bucket than a small one."""
_log = logging.getLogger(__name__)

Handler = Callable[[Any, Context], Awaitable[Any]]
StreamHandler = Callable[[Any, Context], AsyncIterator[Any]]


@dataclass(frozen=True)
class _Received:
    """A message as it arrived: decoded, or the reason why not."""

    length: int
    message: Message | None = None
    problem: str = ""


class Admission(grpc.aio.ServerInterceptor):
    """The interceptor of the control plane's server.

    Args:
        tls: whether callers have certificates.
        auditor: records calls that have ended.
        quotas: how often each may call.
    """

    def __init__(self, *, tls: bool, auditor: Auditor, quotas: Quotas | None = None) -> None:
        self._tls = tls
        self._auditor = auditor
        self._quotas = quotas or Quotas(clock=time.monotonic)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler with the checks around it. grpc calls this for every call, before it receives the message."""
        handler: Any = await continuation(handler_call_details)
        # Only reflection streams requests. It answers from memory.
        if handler is None or handler.request_streaming:
            return handler  # type: ignore[no-any-return]  # grpc's types leave the kinds of handlers out
        method = handler_call_details.method
        decode = _decoder(method, handler.request_deserializer)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), decode, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary), decode, handler.response_serializer
        )

    def _unary(self, method: str, serve: Handler) -> Handler:
        async def admitted(received: _Received, context: Context) -> Any:
            note = partial(self._record, method, received, context)
            async with refusals_as_status(context, method, note):
                caller, quota, cost = self._count(context, received)
                with self._quotas.admitted(caller, quota, cost=cost):
                    answer = await serve(_message(method, received), context)
                await note(grpc.StatusCode.OK, "", answer=answer)
                return answer

        return admitted

    def _stream(self, method: str, serve: StreamHandler) -> StreamHandler:
        async def admitted(received: _Received, context: Context) -> AsyncIterator[Any]:
            async with refusals_as_status(context, method, partial(self._record, method, received, context)):
                caller, quota, cost = self._count(context, received)
                with self._quotas.admitted(caller, quota, cost=cost):
                    async for answer in serve(_message(method, received), context):
                        yield answer

        return admitted

    async def _record(
        self,
        method: str,
        received: _Received,
        context: Context,
        code: grpc.StatusCode,
        detail: str,
        *,
        answer: Message | None = None,
    ) -> None:
        if not self._auditor.is_recorded(method, request=received.message, code=code):
            return
        caller = _name_of(context, tls=self._tls)
        await self._auditor.record(
            method, who=caller, request=received.message, answer=answer, code=code, detail=detail
        )

    def _count(self, context: Context, received: _Received) -> tuple[str, Quota, float]:
        caller = peer_of(context, tls=self._tls)
        # Without TLS the port is on loopback, and one caller is everybody: the operator's quota.
        if caller is None:
            return EVERYBODY, OPERATOR, 1.0
        if caller.unit in READERS:
            return str(caller), OPERATOR, 1.0
        return str(caller), VEHICLE, 1.0 + received.length / _BYTES_PER_TOKEN


def _name_of(context: Context, *, tls: bool) -> str:
    try:
        return str(peer_of(context, tls=tls) or EVERYBODY)
    except NotPermitted:
        return "unreadable certificate"


def _decoder(method: str, decode: Callable[[bytes], Message]) -> Callable[[bytes], _Received]:
    """Return a decoder that never raises: grpc would answer INTERNAL and log a traceback."""
    is_operator = method.startswith(_OPERATOR_PREFIX)
    limit = limits.MAX_OPERATOR_MESSAGE_BYTES if is_operator else limits.MAX_VEHICLE_MESSAGE_BYTES

    def received(content: bytes) -> _Received:
        if len(content) > limit:
            return _Received(len(content), problem=f"message: {len(content)} bytes, at most {limit}")
        try:
            message = decode(content)
        except (DecodeError, ValueError) as error:
            return _Received(len(content), problem=f"message: cannot be decoded: {error}")
        # Fields that this cloud does not have would be stored and sent on with the rest.
        message.DiscardUnknownFields()
        return _Received(len(content), message)

    return received


def _message(method: str, received: _Received) -> Message:
    """Return the decoded message, whose fields keep to their limits.

    Raises:
        InvalidRequest: the message is too large, cannot be decoded, or a field is too long.
    """
    if received.message is None:
        raise InvalidRequest(received.problem)
    try:
        if method.startswith(_VEHICLE_PREFIX):
            limits.check_fields(received.message)
        elif method.startswith(_OPERATOR_PREFIX):
            limits.check_fields(received.message, texts=limits.OPERATOR_TEXTS, lists=limits.OPERATOR_LISTS)
    except limits.FieldTooLong as error:
        raise InvalidRequest(str(error)) from error
    return received.message
