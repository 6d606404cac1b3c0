"""Encrypted artifacts in their parts, so that a test can change, drop, repeat or reorder each of them.

Written against docs/contracts.md, not by the cloud's code: the ECU's tests are a second opinion of the layout.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nacl import bindings
from nacl.public import PrivateKey, PublicKey, SealedBox

KEY = PrivateKey(bytes(range(32)))
"""The ECU's."""
CHUNK_BYTES = 512
"""Small, so that a small image has many chunks."""


@dataclass
class Sealed:
    """One artifact. ``data`` joins the parts."""

    header: bytes
    sealed_key: bytes
    stream_header: bytes
    chunks: list[bytes]

    @property
    def data(self) -> bytes:
        return self.header + self.sealed_key + self.stream_header + b"".join(self.chunks)


def seal(
    plain: bytes,
    key: PublicKey,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    plaintext_bytes: int | None = None,
    final_at: int = -1,
) -> Sealed:
    """Return an artifact. ``plaintext_bytes`` and ``final_at`` (index of the chunk with TAG_FINAL) may lie."""
    stream_key = bindings.crypto_secretstream_xchacha20poly1305_keygen()
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    stream_header = bindings.crypto_secretstream_xchacha20poly1305_init_push(state, stream_key)
    length = len(plain) if plaintext_bytes is None else plaintext_bytes
    header = struct.pack(">4sBBBBIQ", b"OTAE", 1, 0, 0, 0, chunk_bytes, length)
    pieces = [plain[start : start + chunk_bytes] for start in range(0, len(plain), chunk_bytes)]
    last = final_at % len(pieces)
    chunks = [
        bindings.crypto_secretstream_xchacha20poly1305_push(state, piece, header, 3 if number == last else 0)
        for number, piece in enumerate(pieces)
    ]
    return Sealed(header, SealedBox(key).encrypt(stream_key), stream_header, chunks)
