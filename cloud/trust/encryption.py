"""Encrypt an image or patch for one ECU, and make key pairs of ECUs.

    artifact = encrypt(image, public_key=bytes.fromhex(pair.public_key))

Every artifact has its own secretstream key, so two files never share a key, not even for the same ECU. Encrypting takes processor time;
call it from a worker thread. The layout of the file is in ``proto.encrypted_artifact``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nacl import bindings, exceptions
from nacl.public import PrivateKey, PublicKey, SealedBox

from otabench.proto.encrypted_artifact import DEFAULT_CHUNK_BYTES, KEY_BYTES, Header


@dataclass(frozen=True)
class EncryptedArtifact:
    """A file that one ECU can decrypt."""

    content: bytes
    sha256: str


@dataclass(frozen=True)
class EcuKeyPair:
    """An ECU's X25519 keys, each as 64 hexadecimal digits."""

    private_key: str
    public_key: str


def make_key_pair() -> EcuKeyPair:
    """Return a new key pair."""
    key = PrivateKey.generate()
    return EcuKeyPair(bytes(key).hex(), bytes(key.public_key).hex())


def check_public_key(public_key: bytes) -> None:
    """Check that artifacts can be encrypted for a key.

    Raises:
        ValueError: the bytes are not an X25519 public key, or the key is of low order: then anyone can compute the shared secret.
    """
    if len(public_key) != KEY_BYTES:
        raise ValueError(f"{len(public_key)} bytes are not an X25519 public key, which has {KEY_BYTES}")
    # libsodium refuses keys of low order when it seals, so seal an empty message as a check.
    try:
        SealedBox(PublicKey(public_key)).encrypt(b"")
    except exceptions.CryptoError as error:
        raise ValueError("it is of low order, so anyone could decrypt files for it: give the ECU's real key") from error


def encrypt(plain: bytes, *, public_key: bytes, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> EncryptedArtifact:
    """Encrypt an image or patch for one ECU.

    Args:
        plain: the image or patch; must not be empty.
        public_key: a key that has passed ``check_public_key``.
        chunk_bytes: size of the parts that the ECU decrypts at once. It must hold one of them in memory.
    """
    header = Header(chunk_bytes=chunk_bytes, plaintext_bytes=len(plain))
    associated = header.pack()
    stream_key = bindings.crypto_secretstream_xchacha20poly1305_keygen()
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    stream_header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, stream_key)
    parts = [associated, SealedBox(PublicKey(public_key)).encrypt(stream_key), stream_header]
    for number in range(header.chunks):
        tag = (
            bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
            if number == header.chunks - 1
            else bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
        )
        # Every chunk authenticates the header, so that chunks of two files cannot be mixed under one header.
        piece = plain[number * chunk_bytes : (number + 1) * chunk_bytes]
        parts.append(bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, associated, tag))
    content = b"".join(parts)
    return EncryptedArtifact(content=content, sha256=hashlib.sha256(content).hexdigest())
