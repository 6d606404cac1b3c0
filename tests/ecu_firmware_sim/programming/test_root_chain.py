"""An ECU follows the Director's Roots one by one, keeps the newest, and forgets what replaced keys have signed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import Delegations, Root, Targets
from tuf.api.metadata import Metadata

from otabench.ecu_firmware_sim.boot.root_chain import MAX_STORED_BYTES, RootRefused, TrustedRoot
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.proto.metadata_window import pack
from tests.ecu_firmware_sim.factory import Bench, ImageMaker, Keys, Manifest

ROOMY = FlashLayout(slot_bytes=0x4000, metadata_bytes=0x4000, nvm_bank_bytes=0x1000)
HIGHEST = 2**31 - 1
REFUSED, TOO_OLD = 6, 7


@pytest.fixture
def ecu(new_ecu: Callable[..., Bench]) -> Bench:
    return new_ecu(layout=ROOMY)


def chain(keys: Keys) -> list[bytes]:
    """Return the Roots 2, 3 and 4. Each has other keys; the Targets key of the last is ``other_targets``."""
    middle, last = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    return [
        keys.next_root(2, targets=CryptoSigner.generate_ed25519(), root=middle),
        keys.next_root(3, targets=CryptoSigner.generate_ed25519(), root=last, before=middle),
        keys.next_root(4, targets=keys.other_targets, root=last, before=last),
    ]


def test_an_ecu_that_was_away_for_three_roots_follows_and_refuses_the_old_key(
    ecu: Bench, new_image: bytes, make_image: ImageMaker
) -> None:
    roots = chain(ecu.keys)
    ecu.trial(new_image, manifest=Manifest(new_image, version=5))
    ecu.unlock("10 03")
    ecu.must("31 01 02 11")

    assert ecu.ask("22 F1 A3") == "62 F1 A3 00 00 00 01"
    newer = make_image("3.0.0", counter=3)
    window = pack(roots, Manifest(newer, version=6).signed(ecu.keys.other_targets))
    assert ecu.stage_with(newer, window) == 0

    ecu.boot()
    assert ecu.nvm.current.root is not None
    assert ecu.nvm.current.root.version == 4
    assert ecu.ask("22 F1 A3") == "62 F1 A3 00 00 00 04"
    # the key of the first Root, without a chain and with one
    by_old_key = Manifest(newer, version=9).signed(ecu.keys.targets)
    assert ecu.stage_with(newer, by_old_key) == REFUSED
    assert ecu.stage_with(newer, pack(roots, by_old_key)) == REFUSED
    # and the newest key needs no chain any more
    assert ecu.stage_with(newer, Manifest(newer, version=7).signed(ecu.keys.other_targets)) == 0


def test_replaced_targets_keys_end_a_fast_forward(ecu: Bench, new_image: bytes) -> None:
    assert ecu.stage(new_image, manifest=Manifest(new_image, version=HIGHEST)) == 0
    assert ecu.stage(new_image, manifest=Manifest(new_image, version=8)) == TOO_OLD

    window = pack(
        [ecu.keys.next_root(targets=ecu.keys.other_targets)],
        Manifest(new_image, version=8).signed(ecu.keys.other_targets),
    )
    assert ecu.stage_with(new_image, window) == 0

    assert ecu.nvm.current.manifest_version == 8
    assert ecu.stage_with(new_image, Manifest(new_image, version=7).signed(ecu.keys.other_targets)) == TOO_OLD


def test_a_new_root_with_the_same_targets_keys_keeps_the_version(ecu: Bench, new_image: bytes) -> None:
    assert ecu.stage(new_image, manifest=Manifest(new_image, version=8)) == 0
    root = ecu.keys.next_root(targets=ecu.keys.targets, root=CryptoSigner.generate_ed25519())
    assert ecu.stage_with(new_image, pack([root], Manifest(new_image, version=7).signed(ecu.keys.targets))) == TOO_OLD


def test_a_root_is_kept_even_if_the_image_is_refused(ecu: Bench, new_image: bytes, old_image: bytes) -> None:
    root = ecu.keys.next_root(targets=ecu.keys.other_targets)
    window = pack([root], Manifest(old_image).signed(ecu.keys.other_targets))
    assert ecu.stage_with(new_image, window) != 0
    assert ecu.stage(new_image) == REFUSED, "a withdrawn key must not count again, only because an update failed"


def _resigned(content: bytes, change: Callable[[Root], object], *signers: CryptoSigner) -> bytes:
    metadata = Metadata[Root].from_bytes(content)
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _one_key_twice(root: Root) -> None:
    """List the first Root key under two ids, both of which must sign."""
    role = root.roles["root"]
    twin = root.keys[role.keyids[0]].from_dict("twin", root.keys[role.keyids[0]].to_dict())
    root.add_key(twin, "root")
    role.threshold = 2


def _many_keys(root: Root) -> None:
    for _ in range(20):
        root.add_key(CryptoSigner.generate_ed25519().public_key, "targets")


def _other_kind(root: Root) -> None:
    root.add_key(CryptoSigner(ec.generate_private_key(ec.SECP256R1())).public_key, "targets")


def _accent_of_its_own(root: Root) -> None:
    root.unrecognized_fields["note"] = "e\u0301"


def _twins(keys: Keys) -> bytes:
    content = _resigned(keys.next_root(targets=keys.other_targets), _one_key_twice, keys.root)
    document = json.loads(content)
    document["signatures"].append({**document["signatures"][0], "keyid": "twin"})
    return json.dumps(document).encode()


FAULTS: dict[str, tuple[Callable[[Keys, bytes], list[bytes]], str]] = {
    "a gap": (lambda keys, _: chain(keys)[1:], "Root 3 does not follow Root 1"),
    "not signed by the old keys": (
        lambda keys, root: [_resigned(root, lambda _: None, CryptoSigner.generate_ed25519())],
        "enough of the old Root keys",
    ),
    "not signed by the new keys": (
        lambda keys, _: [
            _resigned(
                keys.next_root(targets=keys.other_targets, root=CryptoSigner.generate_ed25519()),
                lambda _: None,
                keys.root,
            )
        ],
        "enough of the new Root keys",
    ),
    "one key twice": (lambda keys, _: [_twins(keys)], "enough of the new Root keys"),
    "changed": (
        lambda keys, root: [root.replace(b'"consistent_snapshot":false', b'"consistent_snapshot":true')],
        "enough of the old Root keys",
    ),
    "too many keys": (lambda keys, root: [_resigned(root, _many_keys, keys.root)], "more keys than this ECU can keep"),
    "another kind of key": (lambda keys, root: [_resigned(root, _other_kind, keys.root)], "not Ed25519"),
    "a string that is not normalized": (
        lambda keys, root: [_resigned(root, _accent_of_its_own, keys.root)],
        "not in Unicode Normalization Form C",
    ),
    "no metadata": (lambda keys, _: [b"{}"], "no TUF metadata"),
    "deep": (lambda keys, _: [b"[" * 200_000], "no TUF metadata"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_root_that_does_not_follow_is_refused(keys: Keys, fault: str) -> None:
    make, words = FAULTS[fault]
    roots = make(keys, keys.next_root(targets=keys.other_targets))
    with pytest.raises(RootRefused, match=words):
        keys.pinned.follow(roots)


def test_targets_in_place_of_a_root_are_refused(keys: Keys, new_image: bytes) -> None:
    with pytest.raises(RootRefused, match="something else in place of a Root"):
        keys.pinned.follow([Manifest(new_image).signed(keys.targets)])


def test_a_refused_chain_stages_nothing_and_is_not_kept(ecu: Bench, new_image: bytes) -> None:
    roots = chain(ecu.keys)[1:]
    window = pack(roots, Manifest(new_image).signed(ecu.keys.other_targets))
    assert ecu.stage_with(new_image, window) == REFUSED
    assert ecu.stage_with(new_image, window[:-1]) == REFUSED, "a container that is cut short"
    assert ecu.nvm.current.root is None
    assert ecu.stage(new_image) == 0


def test_targets_that_delegate_are_refused(ecu: Bench, new_image: bytes) -> None:
    metadata = Metadata[Targets].from_bytes(Manifest(new_image).signed(ecu.keys.targets))
    metadata.signed.delegations = Delegations({}, {})
    metadata.sign(ecu.keys.targets)
    assert ecu.stage_with(new_image, metadata.to_bytes()) == REFUSED


def test_targets_with_a_string_that_is_not_normalized_are_refused(ecu: Bench, new_image: bytes) -> None:
    metadata = Metadata[Targets].from_bytes(Manifest(new_image).signed(ecu.keys.targets))
    for note, result in (("e\u0301", REFUSED), ("\u00e9", 0)):
        metadata.signed.unrecognized_fields["note"] = note
        metadata.sign(ecu.keys.targets)
        assert ecu.stage_with(new_image, metadata.to_bytes()) == result


def test_another_pinned_root_ends_what_the_former_one_led_to(
    ecu: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = ecu.keys.pinned.follow([ecu.keys.next_root(targets=ecu.keys.other_targets)]).stored()
    assert ecu.keys.pinned.restored(kept).version == 2
    other = Keys(tmp_path_factory.mktemp("other")).pinned
    assert other.restored(kept) is other


def test_a_large_root_fits_beside_every_trouble_code(new_ecu: Callable[..., Bench]) -> None:
    """Five of eight Root keys and three of four Targets keys (Uptane's deployment guide), in the NVM that every ECU has."""
    ecu = new_ecu(layout=FlashLayout(slot_bytes=0x4000, metadata_bytes=0x4000))
    root = Root(version=2)
    for role, count in (("root", 8), ("targets", 4)):
        for _ in range(count):
            root.add_key(CryptoSigner.generate_ed25519().public_key, role)
    root.roles["root"].threshold, root.roles["targets"].threshold = 5, 3
    trusted = TrustedRoot._of("0" * 64, root)
    assert len(trusted.stored().model_dump_json()) <= MAX_STORED_BYTES
    ecu.nvm.update(root=trusted.stored(), job_id="j" * 64)
    for dtc in Dtc:
        ecu.dtcs.set(dtc, "x" * 200)
    ecu.boot()
    assert ecu.nvm.current.root == trusted.stored()
