"""Attacks on the time: a clock that was set back, attestations that are old, forged or signed by a thief, a time far ahead."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from otabench.bench.attacks.parties import DIRECTOR_ONLINE, Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, NothingReached, Story, ecu_case, gateway_case
from otabench.bench.gateway.trust.attested_time import TimeAnswer
from otabench.proto import metadata_window
from otabench.proto.time_attestation import NONCE_BYTES

_GATEWAY: Final = frozenset({Key.GATEWAY})
_PROGRAMS: Final = "the ECU is programmed honestly before"
_DAY: Final = timedelta(days=1)
_AHEAD: Final = timedelta(days=30)


def _slow_clock(scene: Scene) -> None:
    """The clock was set back by two days. Seen from it, the honest cloud attests a time two days ahead."""
    nonce = bytes(NONCE_BYTES)
    attestation = scene.forge.attest_time(nonce, at=datetime.now(UTC) + 2 * _DAY)
    scene.accept(scene.director(), scene.images(), time=TimeAnswer(nonce, attestation))


def _learn_the_time(scene: Scene) -> None:
    scene.accept(time=_answer(scene))


def _answer(scene: Scene, *, after: timedelta = timedelta(), nonce: bytes = b"", real: bool = True) -> TimeAnswer:
    """Return the answer to a question of the gateway, with changes to the truth. Arguments as in ``_with_time``."""
    question = secrets.token_bytes(NONCE_BYTES)
    return TimeAnswer(question, scene.forge.attest_time(nonce or question, at=datetime.now(UTC) + after, real=real))


def _answered(**changes: Any) -> Callable[[Scene], None]:
    """Return the attack: an honest manifest, and beside it an answer that must not count."""

    def act(scene: Scene) -> None:
        accepted = scene.accept(time=_answer(scene, **changes))
        if accepted.time_problem:
            raise NothingReached(f"the time is not taken: {accepted.time_problem}")

    return act


def _far_ahead(scene: Scene) -> None:
    """Every honest manifest has expired at that time. The one that comes with it lasts longer."""
    files = scene.director(lifetime=2 * _AHEAD, real=DIRECTOR_ONLINE)
    scene.accept(files, scene.images(lifetime=2 * _AHEAD), time=_answer(scene, after=_AHEAD))


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
    return ecu_case(name, act, refusal, stolen=stolen, prepare=_with_time(), is_for_tests=_PROGRAMS)


def _gateway_case(name: str, act: Callable[[Scene], None], **more: Any) -> Case:
    """Return a case whose time does not count. The honest manifest beside it does."""
    return Case(name, act, guard=Guard.DESIGN, refusal="not named", touches_metadata=True, **more)


CLOCK: Final = Story(
    "clock",
    "clock back and ahead",
    "The attacker makes the vehicle believe that it is earlier than it is, so that metadata count whose time is over, or "
    "later, so that none counts. The time that counts is attested by the cloud for a nonce of the receiver, and never goes back.",
    (
        gateway_case("sets the gateway's clock back by two days", _slow_clock, "freeze"),
        _gateway_case("answers the gateway with an attestation for another nonce", _answered(nonce=b"x" * NONCE_BYTES)),
        _gateway_case("answers the gateway with a time that another key attests", _answered(real=False)),
        _gateway_case(
            "answers the gateway with a time that has passed",
            _answered(after=-400 * _DAY),
            stolen=frozenset({Key.DIRECTOR_TIME}),
            prepare=_learn_the_time,
        ),
        Case(
            "attests a time 30 days ahead to the gateway",
            _far_ahead,
            stolen=DIRECTOR_ONLINE | {Key.DIRECTOR_TIME},
            reaches="honest metadata count as expired until then, or until a new Root replaces the time key",
            touches_metadata=True,
            blocks_updates=True,
        ),
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
        Case(
            "attests a time 30 days ahead to the ECU",
            _with_time(after=_AHEAD, lifetime=2 * _AHEAD),
            Place.ECU,
            stolen=_GATEWAY | {Key.DIRECTOR_TARGETS, Key.DIRECTOR_TIME},
            reaches="honest Targets count as expired for the ECU until then, or until a new Root replaces the time key",
            blocks_updates=True,
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)
