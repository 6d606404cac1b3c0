"""What remains after a theft of keys: the largest version numbers, and keys that a new Root has replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from otabench.bench.attacks.parties import ALL_ROLES, DIRECTOR_ONLINE, Key, Place
from otabench.bench.attacks.scene import LARGEST_VERSION, Scene
from otabench.bench.attacks.stories.metadata import accept_honest
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, Story, ecu_case, gateway_case

_ECU_TARGETS: Final = frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS})


def _fast_forward(scene: Scene) -> None:
    scene.accept(scene.director(version=LARGEST_VERSION, real=DIRECTOR_ONLINE), scene.images())


def _fast_forward_ecu(scene: Scene) -> None:
    files = scene.director(version=LARGEST_VERSION, real={Key.DIRECTOR_TARGETS})
    scene.target.program(scene.window(files), scene.good.content)


def _fast_forward_then_new_root(scene: Scene) -> None:
    _fast_forward(scene)
    scene.replace_keys(DIRECTOR_ONLINE)
    # With a small version number again.
    scene.accept()


def _fast_forward_ecu_then_new_root(scene: Scene) -> None:
    _fast_forward_ecu(scene)
    scene.replace_keys(DIRECTOR_ONLINE)
    scene.target.program(scene.window(), scene.good.content)


def _replace(scene: Scene) -> None:
    accept_honest(scene)
    scene.replace_keys(DIRECTOR_ONLINE)
    scene.accept()


def _replace_in_the_ecu(scene: Scene) -> None:
    scene.replace_keys(DIRECTOR_ONLINE)
    scene.target.program(scene.window(), scene.good.content)


def _old_keys(scene: Scene) -> None:
    """Sign with the keys that the new Root has replaced."""
    scene.accept(scene.director(real=ALL_ROLES, version=LARGEST_VERSION), scene.images())


def _old_keys_to_the_ecu(scene: Scene) -> None:
    files = scene.director(real=ALL_ROLES, version=LARGEST_VERSION)
    # Without the new Root, which a compromised gateway withholds.
    scene.target.program(files["targets.json"], scene.good.content)


def _withhold(scene: Scene) -> None:
    scene.replace_keys(DIRECTOR_ONLINE)
    files = scene.director(real=ALL_ROLES)
    scene.target.program(files["targets.json"], scene.good.content)


def _own_root(real: frozenset[Key]) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        root = scene.forge.next_director_root(
            scene.pinned.director_root.read_bytes(), replace=DIRECTOR_ONLINE, real=real
        )
        scene.accept({**scene.director(real=()), "2.root.json": root}, scene.images())

    return act


def _own_root_to_the_ecu(scene: Scene) -> None:
    pinned = scene.pinned.director_root.read_bytes()
    root = scene.forge.next_director_root(pinned, replace=DIRECTOR_ONLINE, real={Key.ONE_ROOT_KEY})
    files = {**scene.director(real=()), "2.root.json": root}
    scene.target.program(scene.window(files), scene.good.content)


FAST_FORWARD: Final = Story(
    "fast-forward",
    "fast-forward and recovery",
    "The attacker signs metadata with the largest version there is, so that everything honest looks older from then on. "
    "The way back is a new Root with other keys: the old version numbers do not count any longer.",
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
            stolen=DIRECTOR_ONLINE,
            prepare=_fast_forward_then_new_root,
        ),
        Case(
            f"sends Targets of version {LARGEST_VERSION} to the ECU",
            _fast_forward_ecu,
            Place.ECU,
            stolen=_ECU_TARGETS,
            reaches="the ECU accepts no honest Targets until a new Root replaces the key",
            is_for_tests=ACCEPTED_BY_ECU,
            blocks_updates=True,
        ),
        ecu_case(
            "does so again after the ECU has received the new Root",
            _old_keys_to_the_ecu,
            "manifest-refused",
            stolen=_ECU_TARGETS,
            prepare=_fast_forward_ecu_then_new_root,
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)

REVOKED_KEYS: Final = Story(
    "revoked-keys",
    "revoked keys",
    "Keys were stolen, and a new Root has replaced them. The attacker goes on signing with the old ones, or makes a Root of "
    "its own.",
    (
        gateway_case(
            "signs with keys that the Root has replaced",
            _old_keys,
            "arbitrary-software",
            stolen=DIRECTOR_ONLINE,
            prepare=_replace,
        ),
        gateway_case(
            "makes a new Root without the keys of Root",
            _own_root(DIRECTOR_ONLINE),
            "arbitrary-software",
            stolen=DIRECTOR_ONLINE,
        ),
        gateway_case(
            "makes a new Root with one of three keys",
            _own_root(DIRECTOR_ONLINE | {Key.ONE_ROOT_KEY}),
            "arbitrary-software",
            stolen=DIRECTOR_ONLINE | {Key.ONE_ROOT_KEY},
        ),
        ecu_case(
            "sends Targets signed with a replaced key to the ECU",
            _old_keys_to_the_ecu,
            "manifest-refused",
            stolen=_ECU_TARGETS,
            prepare=_replace_in_the_ecu,
            is_for_tests=ACCEPTED_BY_ECU,
        ),
        ecu_case(
            "sends the ECU a new Root with one of three keys",
            _own_root_to_the_ecu,
            "manifest-refused",
            stolen=frozenset({Key.GATEWAY, Key.ONE_ROOT_KEY}),
        ),
        Case(
            "withholds the new Root from the ECU, and sends it Targets signed with the replaced key",
            _withhold,
            Place.ECU,
            stolen=_ECU_TARGETS,
            reaches="until the ECU receives the new Root, the replaced key counts for it; the image must be genuine",
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)
