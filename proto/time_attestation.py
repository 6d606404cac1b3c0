"""A time attestation: the present time, signed together with a nonce of whoever asks, so that it cannot be older than the question.

Big-endian:

    "OTAT\\x01"  time (8): seconds since 1970, UTC  nonce (16)  number of signatures (1)  { public key (32)  signature (64) } …

Ed25519 signs everything before the number of signatures. The keys are those of the Director's newest Root (``proto.uptane.TimeKeys``). The
idea is Roughtime's. A receiver stores the last attested time and takes no earlier one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otabench.proto.uptane import MAX_TIME_KEYS, TimeKeys

NONCE_BYTES: Final = 16
_MAGIC: Final = b"OTAT\x01"
_SIGNED: Final = struct.Struct(f">{len(_MAGIC)}sQ{NONCE_BYTES}s")
_SIGNATURE: Final = struct.Struct(">32s64s")
_MAX_TIME_S: Final = 253_402_300_799
"""The end of the year 9999: later times cannot be written as a date."""


class AttestationRefused(Exception):
    """Bytes that do not attest the time to this receiver. The message states why."""


def attest(*, time_s: int, nonce: bytes, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Return the time (seconds since 1970), signed by these keys. Raises ValueError for a nonce of another length."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce of {len(nonce)} bytes, not {NONCE_BYTES}")
    signed = _SIGNED.pack(_MAGIC, time_s, nonce)
    signatures = [
        _SIGNATURE.pack(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), key.sign(signed)) for key in keys
    ]
    return signed + bytes((len(signatures),)) + b"".join(signatures)


def verify(data: bytes, *, nonce: bytes, keys: TimeKeys) -> int:
    """Return the attested time, in seconds since 1970.

    Raises:
        AttestationRefused: malformed, for another nonce, or not signed by enough of the keys.
    """
    head = _SIGNED.size
    if len(data) <= head or not data.startswith(_MAGIC) or data[head] > MAX_TIME_KEYS:
        raise AttestationRefused("not a time attestation")
    if len(data) != head + 1 + data[head] * _SIGNATURE.size:
        raise AttestationRefused("the time attestation is cut short, or something follows it")
    _, time_s, for_nonce = _SIGNED.unpack_from(data)
    signers: set[str] = set()
    for public, signature in _SIGNATURE.iter_unpack(data[head + 1 :]):
        # A key counts once, however often it has signed.
        if public.hex() in keys.keys and _has_signed(public, signature, data[:head]):
            signers.add(public.hex())
    if len(signers) < keys.threshold:
        raise AttestationRefused(
            f"the time attestation is signed by {len(signers)} of the time keys, not {keys.threshold}"
        )
    if for_nonce != nonce:
        raise AttestationRefused("the time attestation is for another nonce: a replay")
    if time_s > _MAX_TIME_S:
        raise AttestationRefused("the attested time is not a date")
    return int(time_s)


def _has_signed(public: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
