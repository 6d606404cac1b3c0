"""A time attestation is accepted for its own nonce and by enough different time keys, and refused by name otherwise."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from otabench.proto.time_attestation import AttestationRefused, attest, verify
from otabench.proto.uptane import TimeKeys, time_keys_of

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes((number,)) * 32) for number in range(3)]
PUBLIC = tuple(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex() for key in KEYS)
NONCE, OTHER_NONCE = bytes(16), bytes(15) + b"\x01"
NOW_S = 1_790_000_000
ONE, TWO = TimeKeys(keys=PUBLIC[:1]), TimeKeys(keys=PUBLIC, threshold=2)


def test_the_attested_time_is_returned() -> None:
    assert verify(attest(time_s=NOW_S, nonce=NONCE, keys=KEYS[:1]), nonce=NONCE, keys=ONE) == NOW_S
    assert verify(attest(time_s=NOW_S, nonce=NONCE, keys=KEYS), nonce=NONCE, keys=TWO) == NOW_S


GOOD = attest(time_s=NOW_S, nonce=NONCE, keys=KEYS[:1])


@pytest.mark.parametrize(
    ("data", "keys", "words"),
    [
        (attest(time_s=NOW_S, nonce=OTHER_NONCE, keys=KEYS[:1]), ONE, "for another nonce: a replay"),
        (attest(time_s=NOW_S, nonce=NONCE, keys=KEYS[1:2]), ONE, "signed by 0 of the time keys, not 1"),
        (attest(time_s=NOW_S, nonce=NONCE, keys=KEYS[:1]), TWO, "signed by 1 of the time keys, not 2"),
        (attest(time_s=NOW_S, nonce=NONCE, keys=[KEYS[0]] * 5), TWO, "signed by 1 of the time keys, not 2"),
        (attest(time_s=NOW_S, nonce=NONCE, keys=[]), ONE, "signed by 0"),
        (GOOD[:12] + b"\x00" + GOOD[13:], ONE, "signed by 0"),
        (attest(time_s=2**63, nonce=NONCE, keys=KEYS[:1]), ONE, "is not a date"),
        (GOOD[:-1], ONE, "cut short"),
        (GOOD + b"\x00", ONE, "something follows"),
        (attest(time_s=NOW_S, nonce=NONCE, keys=[KEYS[0]] * 9), ONE, "not a time attestation"),
        (b"", ONE, "not a time attestation"),
        (b"{}" * 60, ONE, "not a time attestation"),
    ],
)
def test_what_does_not_attest_the_time_to_this_receiver_is_refused(data: bytes, keys: TimeKeys, words: str) -> None:
    with pytest.raises(AttestationRefused, match=words):
        verify(data, nonce=NONCE, keys=keys)


@pytest.mark.parametrize(
    "time", [{"keys": []}, {"keys": [PUBLIC[0]] * 2}, {"keys": ["x"]}, {"keys": list(PUBLIC), "threshold": 4}, 7]
)
def test_time_keys_that_could_never_sign_are_refused(time: object) -> None:
    with pytest.raises(ValidationError):
        time_keys_of({"custom": {"time": time}})


def test_a_root_without_time_keys_has_none() -> None:
    assert time_keys_of({}) is None
    assert time_keys_of({"custom": {}}) is None
