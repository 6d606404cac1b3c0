"""A tester whose ECU answers by a script: each request with the answers that were prepared for it."""

from __future__ import annotations

from collections import deque
from typing import Any

from otabench.bench.uds.errors import EcuLost, EcuRefused
from otabench.bench.uds.sequence.tester import Exchange

SILENCE = b""
"""As an answer: none."""


class ScriptedEcu:
    """See ``tester.Tester``. ``answers`` by the beginning of a request; the last one of a list is repeated."""

    name = "engine"

    def __init__(self, answers: dict[str, list[str]] | None = None) -> None:
        self._answers = {
            bytes.fromhex(request): deque(bytes.fromhex(each) for each in given)
            for request, given in (answers or {}).items()
        }
        self.sent: list[bytes] = []
        self.exchanges: list[Exchange] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.waited_s: list[float] = []
        self.times: tuple[float, float] | None = None
        self.resets = 0
        self.choices: list[str] = []

    def now_s(self) -> float:
        return sum(self.waited_s)

    def exchange(self, request: Exchange) -> bytes:
        self.sent.append(request.payload)
        self.exchanges.append(request)
        if not request.expects_answer:
            return b""
        answer = self._answer(request.payload)
        if answer == SILENCE:
            raise EcuLost("no answer in time", ecu=self.name, step=request.step)
        if answer[0] == 0x7F:
            raise EcuRefused(ecu=self.name, step=request.step, nrc=answer[2])
        return answer

    def _answer(self, request: bytes) -> bytes:
        for length in range(len(request), 0, -1):
            given = self._answers.get(request[:length])
            if given:
                return given[0] if len(given) == 1 else given.popleft()
        positive = bytes((request[0] | 0x40,))
        echoed = {0x22: 2, 0x2E: 2, 0x31: 3, 0x36: 1, 0x10: 1, 0x11: 1, 0x27: 1, 0x28: 1, 0x3E: 1, 0x85: 1}
        extra = {0x34: b"\x20\x00\x22", 0x31: b"\x00", 0x27: b"\x01\x02"}
        return positive + request[1 : 1 + echoed.get(request[0], 0)] + extra.get(request[0], b"")

    def burst(self, request: Exchange, *, every_s: float, for_s: float) -> None:
        self.sent += [request.payload] * (1 + int(for_s / every_s))

    def use_times(self, p2_s: float, p2_star_s: float) -> None:
        self.times = (round(p2_s, 6), round(p2_star_s, 6))

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        self.choices.append(choice)
        return bytes(each ^ level for each in seed)

    def certificate(self) -> bytes:
        return b"\x30\x03\x02\x01\x00"

    def sign(self, data: bytes) -> bytes:
        return b"signed " + data

    def pause(self, seconds: float) -> None:
        self.waited_s.append(seconds)

    def forget_session(self) -> None:
        self.resets += 1

    def emit(self, event: str, **data: Any) -> None:
        self.events.append((event, data))
