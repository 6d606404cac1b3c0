"""The layout of an artifact that is encrypted for one ECU.

    header (20) | sealed key (80) | stream header (24) | chunk 0 | chunk 1 | … | last chunk

* header, big-endian: magic ``OTAE``, version (1), three zero bytes, chunk size (4), plaintext length (8).
* sealed key: libsodium's sealed box (X25519, XSalsa20-Poly1305), for the ECU's key. It contains the secretstream key, 32 bytes.
* stream header and chunks: libsodium's secretstream (XChaCha20-Poly1305). A chunk is 17 bytes longer than its plaintext. Every chunk
  contains ``chunk size`` bytes of plaintext, except the last one: it contains the rest (at least one byte) and has TAG_FINAL.
* The header is the associated data of every chunk, so a changed header makes every chunk invalid.

The file does not contain whether the plaintext is an image or a patch; dataFormatIdentifier (RequestDownload) does. Encryption proves
nothing about the sender. The Director's Targets and the image's own signature decide whether an image may be installed (ADR 4).

This module only describes the layout. ``cloud.trust.encryption`` encrypts, and ``ecu_firmware_sim.programming.decryption`` decrypts.
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
"""An ECU must hold a whole chunk in memory to decrypt it."""
_HEADER: Final = struct.Struct(">4sB3xIQ")  # magic, version, chunk size, plaintext length


class ContainerError(Exception):
    """The bytes are not the header of an encrypted artifact."""


@dataclass(frozen=True)
class Header:
    """The fields of a header. ``plaintext_bytes`` is at least 1.

    Raises:
        ContainerError: a field is out of range.
    """

    chunk_bytes: int
    plaintext_bytes: int

    def __post_init__(self) -> None:
        if not 1 <= self.chunk_bytes <= MAX_CHUNK_BYTES:
            raise ContainerError(f"the chunk size {self.chunk_bytes} is not within 1 to {MAX_CHUNK_BYTES}")
        if self.plaintext_bytes < 1:
            raise ContainerError("there is no plaintext")

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return -(-self.plaintext_bytes // self.chunk_bytes)

    @property
    def artifact_bytes(self) -> int:
        """The length of the whole file."""
        return PREFIX_BYTES + self.plaintext_bytes + self.chunks * CHUNK_OVERHEAD_BYTES

    def pack(self) -> bytes:
        """Return the bytes of the header. They are the associated data of every chunk."""
        return _HEADER.pack(MAGIC, VERSION, self.chunk_bytes, self.plaintext_bytes)


def parse_header(data: bytes) -> Header:
    """Return the header at the start of a file.

    Raises:
        ContainerError: the file is not an encrypted artifact, or its version is unknown.
    """
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise ContainerError("this is not an encrypted artifact")
    _, version, chunk_bytes, plaintext_bytes = _HEADER.unpack_from(data)
    # Check the zero bytes, so that a later version can use them.
    if version != VERSION or data[5:8] != bytes(3):
        raise ContainerError(f"encrypted artifacts of version {version} are not supported")
    return Header(chunk_bytes, plaintext_bytes)
