"""Artifacts encrypted for one ECU, without a cloud, for sweeps (layout: ``proto.encrypted_artifact``)."""

from __future__ import annotations

from dataclasses import dataclass

from nacl import bindings
from nacl.public import PrivateKey, PublicKey, SealedBox

from otabench.proto.encrypted_artifact import DEFAULT_CHUNK_BYTES, Header


@dataclass(frozen=True)
class KeyPair:
    """X25519; the private key as 64 hexadecimal digits, as an ECU reads it."""

    private_key: str
    public_key: bytes


def make_key_pair() -> KeyPair:
    """Return a new one."""
    key = PrivateKey.generate()
    return KeyPair(bytes(key).hex(), bytes(key.public_key))


def seal(plain: bytes, *, public_key: bytes) -> bytes:
    """Return the container that only the key's ECU can open. ``plain`` is not empty."""
    header = Header(chunk_bytes=DEFAULT_CHUNK_BYTES, plaintext_bytes=len(plain))
    stream_key = bindings.crypto_secretstream_xchacha20poly1305_keygen()
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    stream_header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, stream_key)
    sealed = [header.pack(), SealedBox(PublicKey(public_key)).encrypt(stream_key), stream_header]
    for start in range(0, len(plain), DEFAULT_CHUNK_BYTES):
        is_last = start + DEFAULT_CHUNK_BYTES >= len(plain)
        tag = (
            bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
            if is_last
            else bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
        )
        # The header is authenticated with every chunk, so that a changed length is noticed.
        piece = plain[start : start + DEFAULT_CHUNK_BYTES]
        sealed.append(bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, header.pack(), tag))
    return b"".join(sealed)
