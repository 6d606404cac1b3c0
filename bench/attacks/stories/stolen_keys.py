"""What remains after a theft of keys: the largest version numbers, and keys that a new Root has replaced."""

from __future__ import annotations

from typing import Final

from otabench.bench.attacks.parties import ALL_ROLES, DIRECTOR_ONLINE, Key, Place
from otabench.bench.attacks.scene import LARGEST_VERSION, Scene
from otabench.bench.attacks.stories.metadata import accept_honest, gateway_case
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, Story

_COUNTERS: Final = frozenset({Key.DIRECTOR_TIMESTAMP, Key.DIRECTOR_SNAPSHOT})


def _fast_forward(scene: Scene) -> None:
    scene.accept(scene.director(version=LARGEST_VERSION, real=DIRECTOR_ONLINE), scene.images())


def _fast_forward_then_new_root(scene: Scene) -> None:
    _fast_forward(scene)
    scene.replace_keys(_COUNTERS)
    # With a small version number again.
    scene.accept()


def _old_keys(scene: Scene) -> None:
    """Sign with the keys that the new Root has replaced."""
    files = scene.director(real=ALL_ROLES, version=LARGEST_VERSION)
    scene.accept(files, scene.images())


def _replace_counters(scene: Scene) -> None:
    accept_honest(scene)
    scene.replace_keys(_COUNTERS)
    scene.accept()


def _largest_version_to_the_ecu(scene: Scene) -> None:
    targets = scene.director(version=LARGEST_VERSION, real={Key.DIRECTOR_TARGETS})["targets.json"]
    scene.target.program(targets, scene.good.content)


def _root_by_stranger(scene: Scene) -> None:
    root = scene.forge.next_director_root(
        scene.pinned.director_root.read_bytes(), replace=DIRECTOR_ONLINE, real=DIRECTOR_ONLINE
    )
    scene.accept({**scene.director(real=()), "2.root.json": root}, scene.images())


FAST_FORWARD: Final = Story(
    "fast-forward",
    "fast-forward and recovery",
    "The attacker signs metadata with the largest version there is, so that everything honest looks older from then on. The "
    "way back is a new Root with other keys: the old version numbers do not count any longer.",
    (
        Case(
            f"signs version {LARGEST_VERSION}",
            _fast_forward,
            stolen=DIRECTOR_ONLINE,
            reaches="no honest manifest is accepted until a new Root replaces the keys",
            touches_metadata=True,
            blocks_updates=True,
        ),
        gateway_case(
            "does so again after a new Root has replaced the keys",
            _old_keys,
            "arbitrary-software",
            stolen=_COUNTERS,
            prepare=_fast_forward_then_new_root,
        ),
        Case(
            f"sends Targets of version {LARGEST_VERSION} to the ECU",
            _largest_version_to_the_ecu,
            Place.ECU,
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS}),
            reaches="the ECU accepts no honest Targets any longer: it does not follow later Roots",
            is_for_tests=ACCEPTED_BY_ECU,
            blocks_updates=True,
        ),
    ),
)

REVOKED_KEYS: Final = Story(
    "revoked-keys",
    "revoked keys",
    "Keys were stolen, and a new Root has replaced them. The attacker goes on signing with the old ones, or makes a Root of its own.",
    (
        gateway_case(
            "signs with keys that the Root has replaced",
            _old_keys,
            "arbitrary-software",
            stolen=_COUNTERS,
            prepare=_replace_counters,
        ),
        gateway_case(
            "makes a new Root without the keys of Root",
            _root_by_stranger,
            "arbitrary-software",
            stolen=DIRECTOR_ONLINE,
        ),
    ),
)
