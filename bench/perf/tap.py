"""A channel that counts the UDS messages that the tester sends, and does something at one of them.

A second implementation of the transport's ``Channel``, around the real one. It changes nothing that is sent or received. TesterPresent is
not counted: the clock triggers it, and a number must mean the same message in every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from otabench.bench.uds.transport import Channel, open_channel
from otabench.bench.uds.transport.channel import IsoTpConnection
from otabench.proto.process_config import IsoTpConfig

_TESTER_PRESENT: Final = 0x3E


class Moment(StrEnum):
    """On which side of the message the action is called: before it is sent, or after that and before its response arrives."""

    BEFORE = "before"
    AFTER = "after"


class Tap:
    """A counter of messages. ``action`` is called at message ``at`` (from 1), at ``moment``.

    Attributes:
        sent: the first two bytes of every message so far, hex.
    """

    def __init__(
        self, *, at: int | None = None, moment: Moment = Moment.BEFORE, action: Callable[[], None] = lambda: None
    ) -> None:
        self.sent: list[str] = []
        self._at = at
        self._moment = moment
        self._action = action
        self._lock = threading.Lock()

    def open(self, bus: Mapping[str, Any], isotp: IsoTpConfig) -> Channel:
        """Open a channel in the place of ``open_channel``. Raises ChannelUnavailable."""
        return _TappedChannel(open_channel(bus, isotp), self)

    def around(self, payload: bytes, send: Callable[[], None]) -> None:
        """Send one message, and call the action if it is due."""
        if payload[0] == _TESTER_PRESENT:
            send()
            return
        with self._lock:
            self.sent.append(payload[:2].hex(" ").upper())
            # Counted under the lock: ECUs of two buses are flashed by two threads.
            is_due = len(self.sent) == self._at
        if is_due and self._moment is Moment.BEFORE:
            self._action()
        send()
        if is_due and self._moment is Moment.AFTER:
            self._action()


class _TappedChannel(Channel):
    def __init__(self, real: Channel, tap: Tap) -> None:
        self._real = real
        self._tap = tap
        self.name = real.name
        self.transport = real.transport

    def connection(self, *, request_id: int, response_id: int, isotp: IsoTpConfig) -> IsoTpConnection:
        real = self._real.connection(request_id=request_id, response_id=response_id, isotp=isotp)
        return _TappedConnection(real, self._tap)

    def send_functional(self, can_id: int, payload: bytes, *, isotp: IsoTpConfig) -> None:
        self._tap.around(payload, lambda: self._real.send_functional(can_id, payload, isotp=isotp))

    def close(self) -> None:
        self._real.close()


class _TappedConnection(IsoTpConnection):
    def __init__(self, real: IsoTpConnection, tap: Tap) -> None:
        super().__init__(real.name)
        self._real = real
        self._tap = tap

    def open(self) -> IsoTpConnection:
        self._real.open()
        return self

    def close(self) -> None:
        self._real.close()

    def is_open(self) -> bool:
        return bool(self._real.is_open())

    def empty_rxqueue(self) -> None:
        self._real.empty_rxqueue()

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        self._tap.around(payload, lambda: self._real.specific_send(payload, timeout))

    def specific_wait_frame(self, timeout: float | None = None) -> bytes | None:
        answer: bytes | None = self._real.specific_wait_frame(timeout)
        return answer
