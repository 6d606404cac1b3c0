"""A tester and an ECU without a bus and without time: the runner's requests go straight into a simulated bootloader.

The clock is a number. It moves when the runner waits, when the ECU is silent, and while it boots, so that a sweep of thousands of
power cuts takes seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from otabench.bench.uds.draft.heard import Heard
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused
from otabench.bench.uds.sequence.tester import Exchange
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.nor import Cut, FlashOperation, NorFlash
from otabench.ecu_firmware_sim.personalities.bootloader import Bootloader, Trust
from otabench.ecu_firmware_sim.personalities.personality import Personality
from tests.personalities import certificates

BOOT_S = 0.3
P2_S = 1.05
MAX_PENDING_S = 60.0


class Disturbance(StrEnum):
    """What happens to one request."""

    REQUEST_LOST = "its request is lost"
    ANSWER_LOST = "its answers are lost"
    DOUBLED = "it arrives twice; the answers to the second are late, and skipped"
    RESET_BEFORE = "power cycle before it"
    RESET_AFTER = "power cycle after it, before its answer"
    KILLED_BEFORE = "the tester is killed before it is sent"
    KILLED_AFTER = "the tester is killed after it was sent"


class Killed(Exception):
    """The tester has ended; the ECU goes on."""


class DirectTester:
    """See ``tester.Tester``.

    Args:
        personality: of the ECU.
        flash: its memory; it survives power cuts.
        cut: the number of the flash operation in which power goes, and what is left of it; power comes back at once.
        mute_from: the number of the request from which on the ECU says nothing.
        disturbed: the number of a request, and what happens to it.
        pending_for_ever: the service that is answered with 78 only.
        is_doubled: every request arrives twice.
    """

    def __init__(
        self,
        personality: Personality,
        flash: NorFlash,
        *,
        cut: tuple[int, Cut] | None = None,
        mute_from: int | None = None,
        disturbed: tuple[int, Disturbance] | None = None,
        pending_for_ever: int | None = None,
        is_doubled: bool = False,
    ) -> None:
        self.name = personality.name
        self.personality = personality
        self.flash = flash
        self._now_s = 0.0
        self.requests = 0
        self.heard: list[Heard] = []
        """Every exchange, as a capture would have it."""
        self.change: Callable[[int, bytes], bytes] = lambda _, answer: answer
        """Returns the answer that arrives in place of the ECU's own, by the number of the request."""
        self._mute_from, self._disturbed = mute_from, disturbed
        self._pending_for_ever, self._is_doubled = pending_for_ever, is_doubled
        self._cut = cut
        flash.operations = 0
        flash.on_operation = self._on_operation
        self.ecu = Bootloader(
            personality, flash, random_bytes=random.Random(1).randbytes, trust=Trust(certificates.root())
        )
        self._boots_until_s: float | None = None

    def _on_operation(self, operation: FlashOperation) -> Cut | None:
        return self._cut[1] if self._cut is not None and operation.number == self._cut[0] else None

    def _disturbance(self) -> Disturbance | None:
        return self._disturbed[1] if self._disturbed is not None and self.requests == self._disturbed[0] else None

    def now_s(self) -> float:
        return self._now_s

    def exchange(self, request: Exchange) -> bytes:
        sent_s = self._now_s
        if request.payload[0] == self._pending_for_ever:
            self._now_s += request.limit_s or MAX_PENDING_S
            raise EcuLost("sent for too long", ecu=self.name, step=request.step, nrc=0x78)
        responses = self._send(request.payload, wait_s=request.p2_s or P2_S)
        if self._disturbance() is Disturbance.ANSWER_LOST:
            responses = []
        responses = [changed for each in responses if (changed := self.change(self.requests, each))]
        final = [each for each in responses if each[:1] + each[2:3] != b"\x7f\x78"]
        answer = final[-1] if final else b""
        pending = any(each[:1] + each[2:3] == b"\x7f\x78" for each in responses)
        took_s = self._now_s - sent_s if answer else 0.0
        self.heard.append(
            Heard(sent_s, request.payload, answer, took_s, took_s if pending else 0.0, request.functional)
        )
        if not request.expects_answer:
            return b""
        if not answer:
            raise EcuLost("no answer in time", ecu=self.name, step=request.step)
        if answer[0] == 0x7F:
            if len(answer) < 3:  # as ``SequenceClient`` does
                raise EcuContradicts("a negative response without a code", ecu=self.name, step=request.step)
            raise EcuRefused(ecu=self.name, step=request.step, nrc=answer[2])
        return answer

    def _send(self, payload: bytes, *, wait_s: float) -> list[bytes]:
        self.requests += 1
        if self._mute_from is not None and self.requests >= self._mute_from:
            self._now_s += wait_s
            return []
        happens = self._disturbance()
        if happens is Disturbance.KILLED_BEFORE:
            raise Killed
        late = self._come_up()
        if self._boots_until_s is not None:  # deaf; what it sends once it is up may come in time
            if happens is Disturbance.KILLED_AFTER:
                raise Killed
            return [*late, *self._pass(wait_s)]
        if happens is Disturbance.RESET_BEFORE:
            self.power_cycle()
        if happens in (Disturbance.RESET_BEFORE, Disturbance.REQUEST_LOST):
            return self._pass(wait_s)
        try:
            reply = self.ecu.handle(payload)
            if (self._is_doubled or happens is Disturbance.DOUBLED) and not reply.resets:
                self.ecu.handle(payload)
        except PowerLost:
            self.power_cycle()
            return self._pass(wait_s)
        if happens is Disturbance.RESET_AFTER:
            self.power_cycle()
            return self._pass(wait_s)
        if reply.resets:
            self._boots_until_s = self._now_s + BOOT_S
        if happens is Disturbance.KILLED_AFTER:
            raise Killed
        responses = list(reply.responses)
        if reply.resets and responses and responses[-1][:1] == b"\x7f":
            # 78 starts P2* (5 s here): a late answer is waited for that long
            responses += self._pass(max(wait_s, 5.0))
        return responses

    def heal(self) -> None:
        """End all faults, and let the ECU come up after a power cycle: what it has in flash is what counts."""
        self._mute_from = self._disturbed = self._pending_for_ever = None
        self._is_doubled = False
        self.change = lambda _, answer: answer
        self.power_cycle()
        self._pass(BOOT_S)

    def power_cycle(self) -> None:
        """Take power away, and give it back."""
        self.ecu.lose_power()
        self.flash.powered = True
        self._cut = None
        self._boots_until_s = self._now_s + BOOT_S

    def _pass(self, seconds: float) -> list[bytes]:
        self._now_s += seconds
        return self._come_up()

    def _come_up(self) -> list[bytes]:
        if self._boots_until_s is None or self._now_s < self._boots_until_s:
            return []
        self._boots_until_s = None
        return list(self.ecu.boot())

    def burst(self, request: Exchange, *, every_s: float, for_s: float) -> None:
        for _ in range(1 + int(for_s / every_s)):
            self.heard.append(Heard(self._now_s, request.payload, functional=True))
            self._send(request.payload, wait_s=every_s)
            self._pass(every_s)

    def use_times(self, p2_s: float, p2_star_s: float) -> None:
        pass

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        return bytes(each ^ self.personality.levels[level].key_xor for each in seed)

    def certificate(self) -> bytes:
        return certificates.tester().certificate

    def sign(self, data: bytes) -> bytes:
        return certificates.tester().sign(data)

    def pause(self, seconds: float) -> None:
        self._pass(seconds)

    def forget_session(self) -> None:
        pass

    def emit(self, event: str, **data: Any) -> None:
        pass
