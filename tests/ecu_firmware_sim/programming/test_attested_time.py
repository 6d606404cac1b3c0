"""An ECU learns the time by attestations for its own nonce, never goes back, and judges expiry by it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.proto.metadata_window import pack
from otabench.proto.time_attestation import attest
from tests.ecu_firmware_sim.factory import Bench, Keys, Manifest

ROOMY = FlashLayout(slot_bytes=0x4000, metadata_bytes=0x2000, nvm_bank_bytes=0x1000)
DAY_S = 86_400
CORRECT, REFUSED, EXPIRED = 0, 6, 10
STRANGER = Ed25519PrivateKey.generate()


@pytest.fixture
def ecu(new_ecu: Callable[..., Bench]) -> Bench:
    return new_ecu(layout=ROOMY)


def nonce_of(ecu: Bench) -> bytes:
    return ecu.must("22 F1 A2")[3:]


def now_s() -> int:
    return int(time.time())


def stage(
    ecu: Bench,
    image: bytes,
    time_s: int,
    *,
    nonce: bytes | None = None,
    key: Ed25519PrivateKey | None = None,
    roots: list[bytes] | None = None,
) -> int:
    """Stage an image with a time attestation. Return the status of check memory."""
    attestation = attest(time_s=time_s, nonce=nonce or nonce_of(ecu), keys=[key or ecu.keys.time])
    return ecu.stage_with(image, pack(roots or [], Manifest(image).signed(ecu.keys.targets), time=attestation))


def test_the_attested_time_is_kept_over_a_reset(ecu: Bench, new_image: bytes) -> None:
    now = now_s()
    assert stage(ecu, new_image, now) == CORRECT
    ecu.boot()
    assert ecu.nvm.current.attested_time_s == now


def test_every_nonce_is_another_one(ecu: Bench) -> None:
    nonces = {nonce_of(ecu) for _ in range(20)}
    assert len(nonces) == 20
    assert {len(nonce) for nonce in nonces} == {16}


def test_expired_metadata_are_refused_at_the_attested_time_and_later(ecu: Bench, new_image: bytes) -> None:
    assert stage(ecu, new_image, now_s() + 2 * DAY_S) == EXPIRED
    assert ecu.states == "CONFIRMED INVALID"
    # and: without an attestation the last attested time counts, also after a reset
    assert ecu.stage(new_image) == EXPIRED
    ecu.boot()
    assert ecu.stage(new_image) == EXPIRED


def test_without_any_attestation_expiry_is_not_judged(new_ecu: Callable[..., Bench], new_image: bytes) -> None:
    ecu = new_ecu(layout=ROOMY)
    assert ecu.stage(new_image) == CORRECT
    assert ecu.nvm.current.attested_time_s == 0


def test_time_does_not_go_back(ecu: Bench, new_image: bytes) -> None:
    now = now_s()
    assert stage(ecu, new_image, now) == CORRECT
    assert stage(ecu, new_image, now - 1) == REFUSED
    assert ecu.nvm.current.attested_time_s == now
    assert stage(ecu, new_image, now) == CORRECT


@pytest.mark.parametrize("attack", ["replayed", "another key", "changed"])
def test_an_attestation_that_is_not_for_this_question_is_refused(ecu: Bench, new_image: bytes, attack: str) -> None:
    now = now_s()
    if attack == "replayed":
        nonce = nonce_of(ecu)
        assert stage(ecu, new_image, now, nonce=nonce) == CORRECT
        nonce_of(ecu)  # a new question, and the answer to the old one
        status = stage(ecu, new_image, now, nonce=nonce)
    elif attack == "another key":
        status = stage(ecu, new_image, now, key=STRANGER)
    else:
        good = attest(time_s=now, nonce=nonce_of(ecu), keys=[ecu.keys.time])
        window = pack([], Manifest(new_image).signed(ecu.keys.targets), time=good[:5] + bytes(8) + good[13:])
        status = ecu.stage_with(new_image, window)
    assert status == REFUSED


def test_check_memory_can_be_repeated_and_after_a_reset_the_old_answer_is_passed_over(
    ecu: Bench, new_image: bytes
) -> None:
    now = now_s()
    assert stage(ecu, new_image, now) == CORRECT
    assert ecu.must("31 01 02 02")[4] == CORRECT
    ecu.boot()
    ecu.unlock()
    assert ecu.must("31 01 02 02")[4] == CORRECT
    assert ecu.nvm.current.attested_time_s == now


def test_a_replaced_time_key_ends_a_fast_forward(ecu: Bench, new_image: bytes) -> None:
    """The thief of the time key attests a time far ahead: everything has expired from then on."""
    assert stage(ecu, new_image, now_s() + 3650 * DAY_S) == EXPIRED
    assert stage(ecu, new_image, now_s()) == REFUSED, "the true time would go back"

    fresh = Ed25519PrivateKey.generate()
    root = ecu.keys.next_root(targets=ecu.keys.targets, time=fresh)
    assert stage(ecu, new_image, now_s(), key=fresh, roots=[root]) == CORRECT
    assert stage(ecu, new_image, now_s() + 3650 * DAY_S) == REFUSED, "the old time key counts no more"


def test_the_time_is_kept_even_if_the_image_is_refused(ecu: Bench, new_image: bytes, old_image: bytes) -> None:
    now = now_s()
    attestation = attest(time_s=now, nonce=nonce_of(ecu), keys=[ecu.keys.time])
    assert (
        ecu.stage_with(new_image, pack([], Manifest(old_image).signed(ecu.keys.targets), time=attestation)) != CORRECT
    )
    assert ecu.nvm.current.attested_time_s == now


def test_an_ecu_whose_root_lists_no_time_key_passes_attestations_over(
    new_ecu: Callable[..., Bench], keys: Keys, new_image: bytes
) -> None:
    ecu = new_ecu(layout=ROOMY, root=keys.without_time())
    assert stage(ecu, new_image, now_s() + 2 * DAY_S) == CORRECT
