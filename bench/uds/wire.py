"""The connection between udsoncan and the transport: a filter for late responses, and the trace record of an exchange."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from udsoncan.connections import BaseConnection
from udsoncan.exceptions import TimeoutException

from otabench.bench.deadline import Deadline
from otabench.bench.uds.transport import IsoTpConnection, TransportError

_MAX_WAITING: Final = 16
_TRACED_BYTES: Final = 64
"""Longer requests and responses are cut in the trace: a metadata transfer would fill it."""
_TRANSFER_DATA: Final = 0x36
_WITH_SUB_FUNCTION: Final = frozenset({0x10, 0x11, 0x19, 0x27, 0x28, 0x31, 0x3E, 0x85})
"""Of the services that a tester of this bench sends."""
_ECHOED_BYTES: Final = {0x22: 2, 0x2E: 2, 0x31: 3, 0x36: 1}
"""Number of parameter bytes that a positive response repeats: identifier, routine, counter; else the sub-function."""


class Wire(BaseConnection):  # type: ignore[misc, unused-ignore]
    """The connection to one ECU.

    It does not send if a functional request was already sent to all ECUs. It skips responses to other requests: without that, a
    late response to a request that was given up, or a response that came twice, would be taken for the next request's.

    Attributes:
        stray: the last response that was skipped since ``expect``; empty if there was none.
    """

    def __init__(self, below: IsoTpConnection) -> None:
        super().__init__(below.name)
        self.below = below
        self.is_sent_already = False
        self._wanted = b""
        self._refusal = b""
        self.stray = b""

    def expect(self, request: bytes, *, is_sent_already: bool) -> None:
        """Set the request whose responses are accepted; called before each request."""
        self._wanted, self._refusal = _answer_head(request), bytes((0x7F, request[0]))
        self.is_sent_already, self.stray = is_sent_already, b""

    def open(self) -> Wire:
        self.below.open()
        return self

    def close(self) -> None:
        self.below.close()

    def is_open(self) -> bool:
        return bool(self.below.is_open())

    def empty_rxqueue(self) -> None:
        # udsoncan calls this before every request; after a functional request the response may be here already
        if not self.is_sent_already:
            self.below.empty_rxqueue()

    def take_waiting(self) -> list[bytes]:
        """Return the messages that came without being awaited. Empty too if the bus is away: the next request reports that."""
        found: list[bytes] = []
        with suppress(TransportError, TimeoutException):
            while len(found) < _MAX_WAITING:
                found.append(self.below.specific_wait_frame(timeout=0) or b"")
        return found

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        if not self.is_sent_already:
            self.below.specific_send(payload)

    def specific_wait_frame(self, timeout: float | None = None) -> bytes | None:
        # One deadline for all: every skipped response would otherwise start the timeout again.
        deadline = None if timeout is None else Deadline(timeout)
        while True:
            answer = self.below.specific_wait_frame(timeout=None if deadline is None else deadline.remaining_s())
            if answer is None or self._is_wanted(answer):
                return answer
            self.stray = answer

    def _is_wanted(self, answer: bytes) -> bool:
        return answer.startswith((self._wanted, self._refusal))


def _answer_head(request: bytes) -> bytes:
    """Return the first bytes of the positive response to a request (ISO 14229-1).

    The service identifier plus 0x40, then the echoed parameters; the bit suppressPosRspMsgIndicationBit is not echoed.
    """
    service = request[0]
    echoed = bytearray(request[1 : 1 + _ECHOED_BYTES.get(service, int(service in _WITH_SUB_FUNCTION))])
    if service in _WITH_SUB_FUNCTION and echoed:
        echoed[0] &= 0x7F  # without suppressPosRspMsgIndicationBit
    return bytes((service | 0x40,)) + bytes(echoed)


def exchange_record(payload: bytes, answer: bytes, duration_s: float, *, step: str, problem: str) -> dict[str, Any]:
    """Return the data of a ``uds.exchange`` event (docs/contracts.md). Of a block (36) it has only the first two bytes.

    Args:
        problem: why there is no response; empty if there is one.
    """
    is_block = payload[0] == _TRANSFER_DATA
    data: dict[str, Any] = {
        "service": f"{payload[0]:02X}",
        "request": payload[: 2 if is_block else _TRACED_BYTES].hex(),
        "response": answer[:_TRACED_BYTES].hex(),
        "nrc": answer[2] if answer[:1] == b"\x7f" and len(answer) > 2 else None,
        "duration_ms": round(duration_s * 1000, 3),
        "request_bytes": len(payload),
    }
    if is_block:
        data["block_sequence_counter"] = payload[1]
    else:
        data["step"] = step
    if problem:
        data["problem"] = problem
    return data
