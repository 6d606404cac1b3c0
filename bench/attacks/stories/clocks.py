"""Attacks on the time: a clock that was set back, and attestations that are old, forged or signed by a thief."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.stories.metadata import gateway_case
from otabench.bench.attacks.story import Case, Story
from otabench.bench.gateway.trust.attested_time import TimeAnswer
from otabench.proto import metadata_window
from otabench.proto.time_attestation import NONCE_BYTES

_GATEWAY: Final = frozenset({Key.GATEWAY})
_PROGRAMS: Final = "the ECU is programmed honestly before"
_DAY: Final = timedelta(days=1)


def _slow_clock(scene: Scene) -> None:
    """The clock was set back by two days. Seen from it, the honest cloud attests a time two days ahead."""
    nonce = bytes(NONCE_BYTES)
    attestation = scene.forge.attest_time(nonce, at=datetime.now(UTC) + 2 * _DAY)
    scene.accept(scene.director(), scene.images(), time=TimeAnswer(nonce, attestation))


def _with_time(
    *, after: timedelta = timedelta(), nonce: bytes = b"", real: bool = True, lifetime: timedelta = _DAY
) -> Callable[[Scene], None]:
    """Return a way to program the ECU with a time attestation.

    Args:
        after: now.
        nonce: empty: the ECU's own.
        real: signed by the real time key.
        lifetime: of the Targets.
    """

    def act(scene: Scene) -> None:
        question = scene.target.time_nonce()
        attestation = scene.forge.attest_time(nonce or question, at=datetime.now(UTC) + after, real=real)
        window = scene.window(scene.director(lifetime=lifetime))
        scene.target.program(metadata_window.with_time(window, attestation), scene.good.content)

    return act


def _without_time(scene: Scene) -> None:
    scene.target.program(scene.window(scene.director(lifetime=-_DAY)), scene.good.content)


def _ecu_case(name: str, act: Callable[[Scene], None], refusal: str, *, stolen: frozenset[Key] = _GATEWAY) -> Case:
    return Case(
        name,
        act,
        Place.ECU,
        stolen=stolen,
        guard=Guard.ECU,
        refusal=refusal,
        prepare=_with_time(),
        is_for_tests=_PROGRAMS,
    )


CLOCK: Final = Story(
    "clock",
    "clock set back",
    "The attacker makes the vehicle believe that it is earlier than it is, so that metadata count whose time is over. The time "
    "that counts is attested by the cloud for a nonce of the receiver, and never goes back.",
    (
        gateway_case("sets the gateway's clock back by two days", _slow_clock, "freeze"),
        _ecu_case(
            "sends expired Targets to an ECU that has received the time before", _without_time, "metadata-expired"
        ),
        _ecu_case(
            "sends the ECU an attestation that was made for another nonce",
            _with_time(nonce=b"x" * NONCE_BYTES),
            "manifest-refused",
        ),
        _ecu_case("attests the time to the ECU with a key of its own", _with_time(real=False), "manifest-refused"),
        _ecu_case(
            "attests a time that has passed to the ECU",
            _with_time(after=-2 * _DAY),
            "manifest-refused",
            stolen=_GATEWAY | {Key.DIRECTOR_TIME},
        ),
    ),
)
