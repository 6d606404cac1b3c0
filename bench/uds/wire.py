"""The connection between udsoncan and the transport: a filter for late responses, and the trace record of an exchange."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from udsoncan.connections import BaseConnection
from udsoncan.exceptions import TimeoutException

from otabench.bench.deadline import Deadline
from otabench.bench.uds.services import positive_head
from otabench.bench.uds.transport import IsoTpConnection, TransportError

_MAX_UNAWAITED: Final = 16
"""A node that never stops sending must not hold ``take_pending`` forever."""
_TRACED_BYTES: Final = 64
"""Longer requests and responses are cut in the trace, which transfers would fill otherwise."""
_TRANSFER_DATA: Final = 0x36


class Wire(BaseConnection):  # type: ignore[misc, unused-ignore]
    """The connection to one ECU, as udsoncan uses it.

    It skips responses to other requests. Otherwise a late response to an abandoned request, or a duplicated response, would be taken for
    the response to the next request. It sends nothing if the request already went to all ECUs functionally.

    Attributes:
        skipped_response: the last response skipped since ``expect``; empty if none was skipped.
    """

    def __init__(self, below: IsoTpConnection) -> None:
        super().__init__(below.name)
        self.below = below
        self.is_sent_already = False
        self._positive_head = b""
        self._negative_head = b""
        self.skipped_response = b""

    def expect(self, request: bytes, *, is_sent_already: bool) -> None:
        """Set the request whose responses are accepted; called before each request."""
        self._positive_head, self._negative_head = positive_head(request), bytes((0x7F, request[0]))
        self.is_sent_already, self.skipped_response = is_sent_already, b""

    def open(self) -> Wire:
        self.below.open()
        return self

    def close(self) -> None:
        self.below.close()

    def is_open(self) -> bool:
        return bool(self.below.is_open())

    def empty_rxqueue(self) -> None:
        # udsoncan calls this before every request. After a functional request the response may have arrived already.
        if not self.is_sent_already:
            self.below.empty_rxqueue()

    def take_pending(self) -> list[bytes]:
        """Return the messages that arrived without being awaited.

        The list is also empty if the bus is away. The next request reports that.
        """
        messages: list[bytes] = []
        with suppress(TransportError, TimeoutException):
            # A timeout means that nothing more waits. It ends the loop like an error of the bus.
            while len(messages) < _MAX_UNAWAITED:
                messages.append(self.below.specific_wait_frame(timeout=0) or b"")
        return messages

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        if not self.is_sent_already:
            self.below.specific_send(payload)

    def specific_wait_frame(self, timeout: float | None = None) -> bytes | None:
        # One deadline for the whole wait: otherwise every skipped response would start the timeout again.
        deadline = None if timeout is None else Deadline(timeout)
        while True:
            answer = self.below.specific_wait_frame(timeout=None if deadline is None else deadline.remaining_s())
            if answer is None or self._is_expected(answer):
                return answer
            self.skipped_response = answer

    def _is_expected(self, answer: bytes) -> bool:
        return answer.startswith((self._positive_head, self._negative_head))


def exchange_record(payload: bytes, answer: bytes, duration_s: float, *, step: str, problem: str) -> dict[str, Any]:
    """Return the data of a ``uds.exchange`` event (docs/contracts.md). For a block (36) include only its first two bytes.

    Args:
        problem: why no response came; empty if one came.
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
