"""Attacks on the bus: bombs, recorded keys, files for another ECU, an ECU that is left out."""

from __future__ import annotations

import bz2
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from otabench.bench.attacks.ecu_door import ENCRYPTED, PATCH, EcuDoor
from otabench.bench.attacks.parties import Guard, Key, Place
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import Case, NothingReached, Story, ecu_case
from otabench.bench.errors import BenchError
from otabench.bench.perf.sealing import seal

_GATEWAY: Final = frozenset({Key.GATEWAY})
_SIGNED: Final = frozenset({Key.GATEWAY, Key.DIRECTOR_TARGETS})
_GIB: Final = 1024**3


def _bomb(new_bytes: int, *, unpacked_bytes: int = 0) -> bytes:
    """Return a patch (BSDIFF40) that claims to build so many bytes, with so many zeros in its control block."""
    block = bz2.compress(bytes(unpacked_bytes))
    empty = bz2.compress(b"")
    return struct.pack("<8sqqq", b"BSDIFF40", len(block), len(empty), new_bytes) + block + empty + empty


def _by_patch(patch: Callable[[Scene], bytes], *, is_signed: bool) -> Callable[[Scene], None]:
    """Return an attack by a patch. ``is_signed``: the Director's Targets name this very patch; otherwise another one of its length."""

    def act(scene: Scene) -> None:
        base, content = scene.memory["base"], patch(scene)
        named = content if is_signed else bytes(len(content))
        facts = {
            "path": "patches/x",
            "length": len(named),
            "sha256": hashlib.sha256(named).hexdigest(),
            "base_version": "1.0.0",
            "base_sha256": hashlib.sha256(base).hexdigest(),
            "base_length": len(base),
        }
        targets = scene.director([scene.order(custom={"patch": facts})])["targets.json"]
        scene.target.program(targets, content, size=len(scene.good.content), data_format=PATCH)

    return act


def _claims_a_gibibyte(scene: Scene) -> bytes:
    return _bomb(_GIB)


def _unpacks_without_end(scene: Scene) -> bytes:
    return _bomb(len(scene.good.content), unpacked_bytes=64 * 1024 * 1024)


def _header_claims(scene: Scene) -> None:
    """Return an image whose header states a length of almost 4 GiB."""
    content = bytearray(scene.good.content)
    struct.pack_into("<I", content, 12, 0xFFFF_FFF0)
    targets = scene.director([scene.order(content=bytes(content))], real={Key.DIRECTOR_TARGETS})["targets.json"]
    scene.target.program(targets, bytes(content))


def _longer_than_the_slot(scene: Scene) -> None:
    scene.target.program(scene.director()["targets.json"], scene.good.content, size=_GIB)


BOMBS: Final = Story(
    "bombs",
    "patch and image bombs",
    "The attacker sends a small file that becomes very large: a patch whose header or contents claim a gibibyte, an image "
    "whose header does. The ECU judges both against its memory before it writes anything.",
    (
        ecu_case(
            "sends another patch than the signed one, which claims 1 GiB",
            _by_patch(_claims_a_gibibyte, is_signed=False),
            "patch-refused",
            stolen=_GATEWAY,
        ),
        ecu_case(
            "has a patch signed that claims 1 GiB",
            _by_patch(_claims_a_gibibyte, is_signed=True),
            "patch-refused",
            stolen=_SIGNED,
        ),
        ecu_case(
            "has a patch signed that unpacks to 64 MiB",
            _by_patch(_unpacks_without_end, is_signed=True),
            "patch-refused",
            stolen=_SIGNED,
        ),
        ecu_case("has an image signed whose header claims 4 GiB", _header_claims, "no-image", stolen=_SIGNED),
        ecu_case("announces an image of 1 GiB", _longer_than_the_slot, "requestOutOfRange", stolen=_GATEWAY),
    ),
)

# Security access


def _record(scene: Scene) -> None:
    door = scene.target
    door.ask(b"\x10\x02")
    seed = door.ask(b"\x27\x01")[2:]
    scene.memory["key"] = door.key_for(seed)
    door.ask(b"\x27\x02" + scene.memory["key"])
    door.leave()


def _replay_key(scene: Scene) -> None:
    door = scene.target
    door.ask(b"\x10\x02")
    door.ask(b"\x27\x01")
    door.ask(b"\x27\x02" + scene.memory["key"])


def _without_key(scene: Scene) -> None:
    scene.target.ask(b"\x10\x02")
    scene.target.send(0x00F0_0000, b"{}")


SEED_REPLAY: Final = Story(
    "seed-replay",
    "replay of security access",
    "The attacker has recorded on the bus how the gateway unlocked an ECU, and sends the recorded key again.",
    (
        Case(
            "sends a recorded key for a new seed",
            _replay_key,
            Place.ECU,
            guard=Guard.ECU,
            refusal="invalidKey",
            prepare=_record,
        ),
        Case("programs without a key", _without_key, Place.ECU, guard=Guard.ECU, refusal="securityAccessDenied"),
    ),
)

# Eavesdrop


def _sealed_for(scene: Scene, door: EcuDoor) -> bytes:
    folder: Path | None = scene.memory.get("ecu_keys")
    if folder is None:
        raise BenchError("this attack needs the ECUs' public keys")
    public_key = bytes.fromhex((folder / f"{door.name}.x25519.pub").read_text(encoding="ascii"))
    return seal(scene.good.content, public_key=public_key)


def _listen(scene: Scene) -> None:
    plain, heard = scene.good.content, _sealed_for(scene, scene.target)
    # Code repeats itself: a run of 16 bytes of it would show again and again.
    if any(plain[start : start + 16] in heard for start in range(0, len(plain) - 16, 16)):
        return
    raise NothingReached("nothing of the image can be read in the encrypted file")


def _open_with_another_ecu(scene: Scene) -> None:
    if scene.other is None:
        raise BenchError("this attack needs two ECUs")
    order = scene.order(ecu_serial=scene.other.serial, hardware_id=scene.other.hardware_id)
    targets = scene.director([order])["targets.json"]
    sealed = _sealed_for(scene, scene.target)
    scene.other.program(targets, sealed, size=len(scene.good.content), data_format=ENCRYPTED)


EAVESDROP: Final = Story(
    "eavesdrop",
    "eavesdrop",
    "The attacker reads what is downloaded and what crosses the bus, to learn what an image contains. A campaign with "
    "--encrypt sends each ECU a file that only this ECU can open.",
    (
        Case("reads the file of an encrypted campaign", _listen, Place.ECU, guard=Guard.DESIGN, refusal="not named"),
        ecu_case(
            "has another ECU of the vehicle open it", _open_with_another_ecu, "decryption-failed", stolen=_GATEWAY
        ),
    ),
)
