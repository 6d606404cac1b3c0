"""A tester without a bus. It records every request that a sequence would send, and returns the responses that the profile expects.

    for sent in dry_run(profile, material, now=datetime.now(UTC)):
        print(sent.act, sent.step, sent.payload.hex(" "))

Made-up responses: a routine's status is one that the profile takes for done, a seed and a challenge are 01 02 … 08. Keys, certificate and
signature are zeros, because a dry run does not have the secrets. There are no pauses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from otabench.bench.uds.errors import ProfileInvalid
from otabench.bench.uds.sequence.image_checksums import ImageChecksumError
from otabench.bench.uds.sequence.material import Material, lay_out
from otabench.bench.uds.sequence.profile import Acts, SequenceProfile
from otabench.bench.uds.sequence.runner import Runner
from otabench.bench.uds.sequence.scope import RunScope
from otabench.bench.uds.sequence.tester import Exchange
from otabench.bench.uds.services import positive_head

_SEED: Final = bytes(range(1, 9))
_MAX_BLOCK_LENGTH: Final = 0x0FFF
_CERTIFICATE: Final = bytes(300)
_SIGNATURE: Final = bytes(64)
_AUTHENTICATION: Final = {
    0x00: b"\x10",
    0x01: b"\x11\x00\x08" + _SEED + b"\x00\x00",
    0x03: b"\x12\x00\x00",
    0x08: b"\x02",
}
"""Records of service 29 by its task: de-authenticated, a challenge, complete, configured for certificates."""
_RECORDS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0x10: lambda _: bytes.fromhex("003201F4"),  # P2 50 ms, P2* 5 s
    0x22: lambda _: b"\x00",
    0x27: lambda request: _SEED if request[1] % 2 else b"",
    0x29: lambda request: _AUTHENTICATION.get(request[1], b""),
    0x31: lambda _: b"\x00",
    0x34: lambda _: b"\x20" + _MAX_BLOCK_LENGTH.to_bytes(2, "big"),
}
"""The bytes behind the echoed ones in a positive response, by service. Other services have none."""


@dataclass(frozen=True)
class Sent:
    """One request, one burst (the same request repeated), or one wait.

    Attributes:
        act: the sequence of the profile that it belongs to, e.g. "programming".
        step: the name of the step.
        payload: the request; empty for a wait.
        answer: the positive response that the profile expects; empty if it expects none.
        functional: whether all ECUs of the bus are addressed.
        wait_s: length of a wait; for a burst, the time between two requests; 0 for a request.
        times: how often the request is sent.
        request_id: the identifier of the request, if it is not the ECU's own.
    """

    act: str
    step: str
    payload: bytes = b""
    answer: bytes = b""
    functional: bool = False
    wait_s: float = 0.0
    times: int = 1
    request_id: int | None = None


class _RecordingTester:
    """A ``Tester`` that records requests instead of sending them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.act = ""
        self.sent: list[Sent] = []

    def now_s(self) -> float:
        # Time stands still: no limit of a step can pass on paper.
        return 0.0

    def exchange(self, request: Exchange) -> bytes:
        payload = request.payload
        answer = b""
        if request.expects_answer:
            answer = request.example() if request.example is not None else _answer(payload)
        self.sent.append(
            Sent(self.act, request.step, payload, answer, request.functional, request_id=request.request_id)
        )
        return answer

    def burst(self, request: Exchange, *, every_s: float, for_s: float) -> None:
        times = 1 + int(for_s / every_s)  # the first one is sent at time 0
        self.sent.append(Sent(self.act, request.step, request.payload, functional=True, wait_s=every_s, times=times))

    def use_times(self, p2_s: float, p2_star_s: float) -> None:
        pass

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        return bytes(len(seed))

    def certificate(self) -> bytes:
        return _CERTIFICATE

    def sign(self, data: bytes) -> bytes:
        return _SIGNATURE

    def pause(self, seconds: float) -> None:
        if seconds:
            self.sent.append(Sent(self.act, "wait", wait_s=seconds))

    def forget_session(self) -> None:
        pass

    def emit(self, event: str, **data: Any) -> None:
        pass


def dry_run(profile: SequenceProfile, material: Material, *, now: datetime) -> list[Sent]:
    """Carry out every act of a profile without an ECU, and return the requests.

    Raises:
        FlashError: a template cannot be filled with this material, or the profile contradicts itself.
    """
    tester = _RecordingTester(profile.name)
    try:
        laid = lay_out(material, profile.layout)
    except ImageChecksumError as error:
        raise ProfileInvalid(
            str(error), ecu=profile.name, step="layout", remedy="correct the program, or layout.image_checksums"
        ) from error
    scope = RunScope(laid, profile.values, now)
    for act in Acts.model_fields:
        tester.act = act
        Runner(tester, scope, times=profile.times).run(getattr(profile.sequences, act))
    return tester.sent


def _answer(request: bytes) -> bytes:
    record = _RECORDS.get(request[0])
    return positive_head(request) + (record(request) if record else b"")
