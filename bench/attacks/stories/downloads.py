"""Attacks on the way from the artifact server to the gateway. No key helps here: length and hashes are signed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from otabench.bench.attacks import hostile_server as hostile
from otabench.bench.attacks.hostile_server import Behaviour
from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, Story
from otabench.bench.gateway.trust.manifest import RemoteFile


def _file(scene: Scene) -> RemoteFile:
    content = scene.good.content
    return RemoteFile("images/good.bin", len(content), hashlib.sha256(content).hexdigest())


def _from(behaviour: Behaviour) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.download(_file(scene), behaviour)

    return act


def _other_bytes(scene: Scene) -> None:
    content = bytearray(scene.good.content)
    content[-1] ^= 0x01
    scene.download(_file(scene), hostile.serves(bytes(content)))


def _shorter(scene: Scene) -> None:
    scene.download(_file(scene), hostile.serves(scene.good.content[:-1]))


def _compressed(scene: Scene) -> None:
    scene.download(_file(scene), hostile.compressed(64 * 1024 * 1024))


def _second_is_swallowed(scene: Scene) -> None:
    content = scene.order(scene.evil()).content
    first = RemoteFile("images/first.bin", len(content), hashlib.sha256(content).hexdigest())
    scene.download(first, hostile.serves(content)).unlink()
    scene.download(_file(scene), hostile.swallows)


def _program_one(scene: Scene) -> None:
    scene.target.program(scene.window(), scene.good.content)


def _case(name: str, act: Callable[[Scene], None], refusal: str = "wrong-content", **more: Any) -> Case:
    return Case(name, act, guard=Guard.DOWNLOAD, refusal=refusal, **more)


TAMPERED: Final = Story(
    "tampered-artifact",
    "tampered artifact",
    "The attacker sits between artifact server and vehicle, and sends other bytes than the image that was signed.",
    (_case("changes one bit", _other_bytes), _case("leaves the last byte out", _shorter)),
)
ENDLESS_ARTIFACT: Final = Story(
    "endless-artifact",
    "endless data: artifact",
    "The attacker answers the download of an image with data that do not end. The gateway stops at the first byte beyond "
    "the signed length, and removes what it has.",
    (
        _case("sends bytes without a length", _from(hostile.endless)),
        _case("sends chunks without a last one", _from(hostile.endless_in_chunks)),
        _case("sends a small file that is large when it is decompressed", _compressed),
    ),
)
SLOW_RETRIEVAL: Final = Story(
    "slow-retrieval",
    "slow retrieval",
    "The attacker sends a few bytes at a time, just often enough that the connection does not look dead.",
    (_case("drips two bytes at a time", _from(hostile.drips), "timed-out"),),
)
PARTIAL_BUNDLE: Final = Story(
    "partial-bundle",
    "partial bundle installation",
    "The attacker lets one part of an update through and blocks the other, so that the vehicle runs a mixture. The gateway "
    "programs no ECU before it has all files of the update, activates none before all are staged, and reverts all if one "
    "fails.",
    (
        _case("lets the first file through and swallows the second", _second_is_swallowed, "timed-out"),
        Case(
            "runs the gateway, and programs one of two ECUs only",
            _program_one,
            Place.ECU,
            stolen=frozenset({Key.GATEWAY}),
            reaches="one ECU of the bundle is staged and the other is not; the Director reads it in the reports that the ECUs sign",
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)
DROP_REQUEST: Final = Story(
    "drop-request",
    "drop-request",
    "The attacker swallows what the vehicle asks for. That cannot be prevented. The vehicle gives up in time, keeps what it "
    "runs, and tries again later.",
    (
        _case("never answers", _from(hostile.swallows), "timed-out"),
        _case("hangs up on every request", _from(hostile.cuts), "timed-out"),
    ),
)
