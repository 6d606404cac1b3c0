"""Attacks with metadata that are genuine or correctly signed but must be refused: old, mixed, too long, misleading, or for another
vehicle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from otabench.bench.attacks.parties import ALL_ROLES, DIRECTOR_ONLINE, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, Story, ecu_case, gateway_case


def _ordered(real: frozenset[Key] = ALL_ROLES, **changes: Any) -> Callable[[Scene], None]:
    """Return an attack that changes fields of the honest order. The Image repository stays honest."""

    def act(scene: Scene) -> None:
        scene.accept(scene.director([scene.order(**changes)], real=real), scene.images())

    return act


def _manifest(**changes: Any) -> Callable[[Scene], None]:
    """Return an attack that changes fields of the honest manifest."""

    def act(scene: Scene) -> None:
        scene.accept(scene.director(**changes), scene.images())

    return act


def accept_honest(scene: Scene) -> None:
    """Accept and remember an honest manifest. Its version is not 1, so that an older version exists."""
    scene.memory["version"] = max(1, scene.memory.get("version", 0))
    scene.memory["director"], scene.memory["images"] = scene.director(), scene.images()
    scene.accept(scene.memory["director"], scene.memory["images"])


# Freeze


def _expired_images(scene: Scene) -> None:
    scene.accept(scene.director(), scene.images(lifetime=timedelta(days=-1)))


def _expired_to_the_ecu(scene: Scene) -> None:
    targets = scene.director(lifetime=timedelta(days=-1))["targets.json"]
    scene.target.program(targets, scene.good.content)


FREEZE: Final = Story(
    "freeze",
    "freeze",
    "The attacker keeps a vehicle on old metadata, so that it does not learn of an update that mends a fault. The metadata "
    "are genuine but have expired.",
    (
        gateway_case("sends the Director's expired metadata", _manifest(lifetime=timedelta(days=-1)), "freeze"),
        gateway_case("sends the Image repository's expired metadata", _expired_images, "freeze"),
        Case(
            "sends expired Targets to the ECU",
            _expired_to_the_ecu,
            Place.ECU,
            stolen=frozenset({Key.GATEWAY}),
            reaches="the ECU accepts an image after its Targets have expired, because no time was attested "
            "to the ECU yet",
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)

# Rollback


def _older_image(scene: Scene) -> None:
    older = scene.order(scene.older)
    scene.accept(scene.director([older]), scene.images([older]))


def _older_counter(scene: Scene) -> None:
    order = scene.order(release_counter=0)
    scene.accept(scene.director([order]), scene.images([order]))


def _older_director(scene: Scene) -> None:
    scene.accept(scene.director(version=1), scene.images())


def _older_images(scene: Scene) -> None:
    scene.accept(scene.director(), scene.images(version=1))


def _older_image_to_the_ecu(scene: Scene) -> None:
    assert scene.older is not None
    targets = scene.director([scene.order(scene.older)], real={Key.DIRECTOR_TARGETS})["targets.json"]
    scene.target.program(targets, scene.older.content)


def _false_version_to_the_ecu(scene: Scene) -> None:
    order = scene.order(version="99.0.0", release_counter=99)
    scene.target.program(scene.director([order], real={Key.DIRECTOR_TARGETS})["targets.json"], scene.good.content)


def _stage_honest(scene: Scene) -> None:
    scene.memory["older"] = scene.director()["targets.json"]
    scene.target.program(scene.director()["targets.json"], scene.good.content)


def _older_targets_to_the_ecu(scene: Scene) -> None:
    scene.target.program(scene.memory["older"], scene.good.content)


ROLLBACK: Final = Story(
    "rollback",
    "rollback",
    "The attacker brings back software with a known fault. It sends older metadata, or new metadata that name an old "
    "image or state a false version for it.",
    (
        gateway_case("sends older metadata of the Director", _older_director, "rollback", prepare=accept_honest),
        gateway_case("sends older metadata of the Image repository", _older_images, "rollback", prepare=accept_honest),
        gateway_case("names an older image that is published", _older_image, "rollback", stolen=DIRECTOR_ONLINE),
        gateway_case("states a lower release counter", _older_counter, "rollback", stolen=ALL_ROLES),
        ecu_case(
            "sends an older image with correctly signed Targets to the ECU",
            _older_image_to_the_ecu,
            "security-counter-too-low",
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS}),
        ),
        ecu_case(
            "states a version that the image does not have, to the ECU",
            _false_version_to_the_ecu,
            "manifest-refused",
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS}),
        ),
    ),
)

MIXED_BUNDLE: Final = Story(
    "mixed-bundle",
    "mixed bundle",
    "The attacker runs the gateway, and gives one ECU the new metadata and another ECU the older ones, so that the two images "
    "do not match.",
    (
        ecu_case(
            "sends older genuine Targets to an ECU that has accepted newer ones",
            _older_targets_to_the_ecu,
            "manifest-too-old",
            stolen=frozenset({Key.GATEWAY}),
            prepare=_stage_honest,
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)

# Mix-and-match


def _older_targets(scene: Scene) -> None:
    scene.accept({**scene.director(), "targets.json": scene.memory["director"]["targets.json"]}, scene.images())


def _other_content(scene: Scene) -> None:
    order = scene.order()
    evil = scene.evil()
    forged = scene.order(content=evil.content, path=order.target.path)
    scene.accept(scene.director([forged], real=DIRECTOR_ONLINE), scene.images([order]))


def _unmet(scene: Scene) -> None:
    order = scene.order(custom={"requires": [{"image_number": 5, "version": "9.0.0"}]})
    scene.accept(scene.director([order]), scene.images([order]))


MIX_AND_MATCH: Final = Story(
    "mix-and-match",
    "mix-and-match",
    "The attacker puts genuine parts together that do not belong together: files of two versions of the metadata, or images "
    "that do not fit each other.",
    (
        gateway_case(
            "puts older Targets into a newer manifest", _older_targets, "mix-and-match", prepare=accept_honest
        ),
        gateway_case(
            "states other contents for a published image",
            _other_content,
            "repositories-disagree",
            stolen=DIRECTOR_ONLINE,
        ),
        gateway_case(
            "names an image whose dependency the vehicle does not meet", _unmet, "not-suitable", stolen=DIRECTOR_ONLINE
        ),
    ),
)

# Orders that are not for this vehicle


def _twice(scene: Scene) -> None:
    orders = [scene.order(), scene.order(scene.evil())]
    scene.accept(scene.director(orders), scene.images(orders))


def _other_vehicle_to_the_ecu(scene: Scene) -> None:
    targets = scene.director(custom={"vin": "W0TABENCH99999999"})["targets.json"]
    scene.target.program(targets, scene.good.content)


OTHER_VEHICLE: Final = Story(
    "other-vehicle",
    "another vehicle's manifest",
    "The attacker sends a vehicle the genuine manifest of another vehicle.",
    (
        gateway_case("sends it to the gateway", _manifest(custom={"vin": "W0TABENCH99999999"}), "other-vehicle"),
        gateway_case("sends one for an ECU of another vehicle", _ordered(ecu_serial="OTHER-9999"), "unknown-ecu"),
        ecu_case(
            "sends its Targets to the ECU",
            _other_vehicle_to_the_ecu,
            "manifest-refused",
            stolen=frozenset({Key.GATEWAY}),
        ),
    ),
)


def _hardware_to_the_ecu(scene: Scene) -> None:
    targets = scene.director([scene.order(hardware_id="other-hardware")], real={Key.DIRECTOR_TARGETS})["targets.json"]
    scene.target.program(targets, scene.good.content)


OTHER_HARDWARE: Final = Story(
    "wrong-hardware",
    "wrong hardware id",
    "The attacker sends an image for another kind of ECU, with valid signatures.",
    (
        gateway_case(
            "states another hardware id",
            _ordered(DIRECTOR_ONLINE, hardware_id="other"),
            "other-hardware",
            stolen=DIRECTOR_ONLINE,
        ),
        gateway_case("names one ECU twice", _twice, "ecu-twice", stolen=ALL_ROLES),
        gateway_case(
            "makes the Director delegate",
            _manifest(delegates=True, real=DIRECTOR_ONLINE),
            "director-delegates",
            stolen=DIRECTOR_ONLINE,
        ),
        ecu_case(
            "states another hardware id to the ECU",
            _hardware_to_the_ecu,
            "other-hardware",
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS}),
        ),
    ),
)

# Replay


def _again(scene: Scene) -> None:
    scene.accept(scene.memory["director"], scene.memory["images"], job_id="job-later")


REPLAY: Final = Story(
    "replay",
    "replay of a manifest",
    "The attacker has recorded a genuine manifest, and sends it again for a later job.",
    (gateway_case("sends the manifest of an earlier job", _again, "other-job", prepare=accept_honest),),
)

# Endless and misleading metadata


def _endless_timestamp(scene: Scene) -> None:
    files = scene.director()
    scene.accept({**files, "timestamp.json": files["timestamp.json"] + b" " * 1_000_000}, scene.images())


def _nested(scene: Scene) -> None:
    scene.accept({**scene.director(), "timestamp.json": b"[" * 10_000}, scene.images())


ENDLESS_METADATA: Final = Story(
    "endless-metadata",
    "endless data: metadata",
    "The attacker sends metadata that exceed the length limits, to fill memory or storage.",
    (
        gateway_case("appends a million blanks", _endless_timestamp, "endless-data"),
        gateway_case("nests lists 10,000 levels deep", _nested, "malformed-metadata"),
        gateway_case(
            "signs Targets that no ECU can receive",
            _manifest(custom={"release_notes": "x" * 80_000}, real=DIRECTOR_ONLINE),
            "too-large",
            stolen=DIRECTOR_ONLINE,
        ),
    ),
)

TRAVERSAL: Final = Story(
    "path-traversal",
    "path traversal",
    "The attacker names a path that leads out of the folder of the artifacts.",
    tuple(
        gateway_case(f"names {path!r}", _ordered(DIRECTOR_ONLINE, path=path), "not-suitable", stolen=DIRECTOR_ONLINE)
        for path in ("../../etc/passwd", "/etc/passwd", "images/../../x", "http://attacker/x")
    ),
)
