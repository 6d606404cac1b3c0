"""The container of an artifact that is encrypted for one ECU: its layout, and nothing of cryptography.

    header (20) | sealed key (80) | stream header (24) | chunk 0 | chunk 1 | … | last chunk

* header, big-endian: magic ``OTAE``, version (1), three zero bytes, chunk size (4), plaintext length (8).
* sealed key: libsodium's sealed box (X25519, XSalsa20-Poly1305) of the 32 bytes secretstream key, for the ECU's key.
* stream header and chunks: libsodium's secretstream (XChaCha20-Poly1305), 17 bytes more than the plaintext each. Every
  chunk holds ``chunk size`` bytes of it but the last, which holds the rest (never nothing) and is the one with TAG_FINAL.
* The header is the associated data of every chunk: none of its fields can be changed without every chunk being refused.

What is inside, an image or a patch, is the dataFormatIdentifier's to say. The sealed box says for whom a file is, not from
whom: that an image may be installed is for the Director's Targets and the image's own signature.
Who seals is ``cloud.trust.encryption``, who opens the ECU's decryption.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"OTAE"
VERSION: Final = 1
KEY_BYTES: Final = 32
HEADER_BYTES: Final = 20
SEALED_KEY_BYTES: Final = 80
STREAM_HEADER_BYTES: Final = 24
CHUNK_OVERHEAD_BYTES: Final = 17
PREFIX_BYTES: Final = HEADER_BYTES + SEALED_KEY_BYTES + STREAM_HEADER_BYTES
DEFAULT_CHUNK_BYTES: Final = 4096
MAX_CHUNK_BYTES: Final = 16 * 1024
"""What an ECU must be able to hold at once."""
_HEADER: Final = struct.Struct(">4sB3xIQ")


class ContainerError(Exception):
    """The bytes are not the header of an encrypted artifact."""


@dataclass(frozen=True)
class Header:
    """What the header says. ``plaintext_bytes`` is at least 1."""

    chunk_bytes: int
    plaintext_bytes: int

    def __post_init__(self) -> None:
        if not 1 <= self.chunk_bytes <= MAX_CHUNK_BYTES:
            raise ContainerError(f"the chunk size {self.chunk_bytes} is not within 1 to {MAX_CHUNK_BYTES}")
        if self.plaintext_bytes < 1:
            raise ContainerError("there is no plaintext")

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.plaintext_bytes // self.chunk_bytes)

    @property
    def artifact_bytes(self) -> int:
        """Length of the whole file."""
        return PREFIX_BYTES + self.plaintext_bytes + self.chunks * CHUNK_OVERHEAD_BYTES

    def pack(self) -> bytes:
        """Its bytes, which are the associated data of every chunk."""
        return _HEADER.pack(MAGIC, VERSION, self.chunk_bytes, self.plaintext_bytes)


def parse_header(data: bytes) -> Header:
    """The header at the start of a file.

    Raises:
        ContainerError: it is none, or of a version that is not known here.
    """
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise ContainerError("this is no encrypted artifact")
    _, version, chunk_bytes, plaintext_bytes = _HEADER.unpack_from(data)
    if version != VERSION or data[5:8] != bytes(3):
        raise ContainerError(f"encrypted artifacts of version {version} are not known here")
    return Header(chunk_bytes, plaintext_bytes)
