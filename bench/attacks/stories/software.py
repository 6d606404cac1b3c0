"""Arbitrary software: the attacker's own image, with no stolen key, with each one, and with sets of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from otabench.bench.attacks.parties import ALL_ROLES, DIRECTOR_ONLINE, IMAGE_OFFLINE, IMAGE_ONLINE, Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import ACCEPTED_BY_ECU, Case, NothingReached, Story, ecu_case


def _by_metadata(
    stolen: Collection[Key], *, own_supplier: bool = False, then_ecu: bool = False
) -> Callable[[Scene], None]:
    """Return the attack through the cloud: metadata for the gateway and, if the gateway accepts them, the image for the ECU."""

    def act(scene: Scene) -> None:
        image = scene.evil(signed=Key.FIRMWARE in stolen)
        accepted = scene.accept_with(stolen, image, own_supplier=own_supplier)
        if then_ecu:
            scene.target.program(accepted.window, image.content)

    return act


def _targets_key_alone(scene: Scene) -> None:
    """New Targets, and the honest Snapshot and Timestamp beside them, because the attacker cannot sign these."""
    honest = scene.director()
    forged = scene.director([scene.order(scene.evil())], real={Key.DIRECTOR_TARGETS})
    scene.accept({**honest, "targets.json": forged["targets.json"]}, scene.images())


def _image_keys_alone(scene: Scene) -> None:
    evil = scene.order(scene.evil())
    accepted = scene.accept(scene.director(), scene.images([scene.order(), evil]))
    if any(planned.image.path == evil.target.path for planned in accepted.plan.ecus):
        return
    raise NothingReached("the Director does not name the image")


def _by_gateway(stolen: Collection[Key]) -> Callable[[Scene], None]:
    """Return the attack by a compromised gateway, which sends the image to the ECU itself."""

    def act(scene: Scene) -> None:
        image = scene.evil(signed=Key.FIRMWARE in stolen)
        targets = scene.director([scene.order(image)], real=stolen)["targets.json"]
        scene.target.program(targets, image.content)

    return act


def _other_image_than_signed(scene: Scene) -> None:
    scene.target.program(scene.director()["targets.json"], scene.evil().content)


def _changed_on_the_bus(scene: Scene) -> None:
    content = bytearray(scene.good.content)
    content[len(content) // 2] ^= 0x01
    scene.target.program(scene.director()["targets.json"], bytes(content))


def _another_genuine_image(scene: Scene) -> None:
    scene.accept(scene.director(real=DIRECTOR_ONLINE), scene.images())


ARBITRARY_SOFTWARE: Final = Story(
    "arbitrary-software",
    "arbitrary software",
    "The attacker wants an ECU to run an image of its own. It sends metadata that name the image, as the cloud would, or it "
    "takes over the gateway and sends the image to the ECU by UDS. What it cannot sign with a stolen key it signs with a "
    "key of its own.",
    (
        Case("names its image in a manifest", _by_metadata(()), guard=Guard.GATEWAY, refusal="arbitrary-software"),
        *(
            Case(
                "names its image in a manifest",
                _by_metadata({key}),
                stolen=frozenset({key}),
                guard=Guard.GATEWAY,
                refusal="arbitrary-software",
            )
            for key in (Key.DIRECTOR_TIMESTAMP, Key.DIRECTOR_SNAPSHOT, Key.FIRMWARE)
        ),
        Case(
            "puts new Targets beside the honest Snapshot",
            _targets_key_alone,
            stolen=frozenset({Key.DIRECTOR_TARGETS}),
            guard=Guard.GATEWAY,
            refusal="mix-and-match",
        ),
        Case(
            "names an image that the Image repository does not list",
            _by_metadata(DIRECTOR_ONLINE),
            stolen=DIRECTOR_ONLINE,
            guard=Guard.GATEWAY,
            refusal="unknown-image",
        ),
        Case(
            "lists its image in a supplier's Targets, signed by another key",
            _by_metadata(DIRECTOR_ONLINE | IMAGE_ONLINE),
            stolen=DIRECTOR_ONLINE | IMAGE_ONLINE,
            guard=Guard.GATEWAY,
            refusal="arbitrary-software",
        ),
        Case(
            "lists its image in the Image repository",
            _image_keys_alone,
            stolen=IMAGE_ONLINE | IMAGE_OFFLINE,
            guard=Guard.DESIGN,
            refusal="not named",
            touches_metadata=True,
        ),
        ecu_case(
            "names and lists its image, which another key has signed",
            _by_metadata(DIRECTOR_ONLINE | IMAGE_ONLINE | {Key.SUPPLIER}, then_ecu=True),
            "signature-wrong",
            stolen=DIRECTOR_ONLINE | IMAGE_ONLINE | {Key.SUPPLIER},
            touches_metadata=True,
        ),
        ecu_case(
            "names its image, and delegates to a supplier of its own",
            _by_metadata(DIRECTOR_ONLINE | IMAGE_ONLINE | {Key.IMAGE_TARGETS}, own_supplier=True, then_ecu=True),
            "signature-wrong",
            stolen=DIRECTOR_ONLINE | IMAGE_ONLINE | {Key.IMAGE_TARGETS},
            touches_metadata=True,
        ),
        Case(
            "names, lists and signs its image",
            _by_metadata(ALL_ROLES | {Key.FIRMWARE}, then_ecu=True),
            Place.ECU,
            stolen=ALL_ROLES | {Key.FIRMWARE},
            reaches="the ECU takes the attacker's image: every key that could refuse it is stolen",
            is_for_tests=ACCEPTED_BY_ECU,
            touches_metadata=True,
        ),
        Case(
            "names another image that is published and not older",
            _another_genuine_image,
            stolen=DIRECTOR_ONLINE,
            reaches="the vehicle is offered a genuine image of the attacker's choice; it cannot be older than what runs",
            touches_metadata=True,
        ),
    ),
)

COMPROMISED_GATEWAY: Final = Story(
    "compromised-gateway",
    "compromised gateway",
    "The attacker runs the gateway, has the secrets of security access, and sends metadata and images to the ECU by "
    "UDS as it likes. The ECU verifies the Director's signature, its own serial number and hardware, and the image's "
    "signature by itself.",
    (
        ecu_case(
            "sends its image with Targets of its own",
            _by_gateway(()),
            "manifest-refused",
            stolen=frozenset({Key.GATEWAY}),
        ),
        ecu_case(
            "sends its image with the Director's Targets",
            _other_image_than_signed,
            "digest-differs",
            stolen=frozenset({Key.GATEWAY}),
        ),
        ecu_case(
            "changes one bit of the image on the bus",
            _changed_on_the_bus,
            "digest-differs",
            stolen=frozenset({Key.GATEWAY}),
        ),
        ecu_case(
            "sends its image, correctly signed, with Targets of its own",
            _by_gateway({Key.FIRMWARE}),
            "manifest-refused",
            stolen=frozenset({Key.GATEWAY, Key.FIRMWARE}),
        ),
        ecu_case(
            "sends its image with correctly signed Targets",
            _by_gateway({Key.DIRECTOR_TARGETS}),
            "signature-wrong",
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS}),
        ),
        Case(
            "signs Targets and image",
            _by_gateway({Key.DIRECTOR_TARGETS, Key.FIRMWARE}),
            Place.ECU,
            stolen=frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS, Key.FIRMWARE}),
            reaches="the ECU takes the attacker's image: partial verification checks only the Director's key and the firmware key",
            is_for_tests=ACCEPTED_BY_ECU,
        ),
    ),
)
