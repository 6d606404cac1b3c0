"""Decrypting a download while it arrives: chunk by chunk, in a buffer that does not grow with the file.

Judged here is whether a stream of bytes is an artifact encrypted for this ECU, complete and in order. Its contents are judged by the inner
download. The layout is in ``proto.encrypted_artifact``. Rules:

* A chunk is handed on only after it was authenticated, together with the header. So a wrong key and a changed, missing, repeated or
  reordered chunk end the download before any of that chunk is programmed.
* Every chunk has the length that the header prescribes, only the last one carries TAG_FINAL, and nothing follows it.
* An image must be as long as 34 announced it.
* At most one chunk and one transfer block are held back; the header bounds the size of a chunk.
"""

from __future__ import annotations

from typing import Final

from nacl import bindings, exceptions
from nacl.public import PrivateKey, SealedBox

from otabench.ecu_firmware_sim.programming.download import Download
from otabench.proto.encrypted_artifact import (
    CHUNK_OVERHEAD_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    PREFIX_BYTES,
    SEALED_KEY_BYTES,
    ContainerError,
    Header,
    parse_header,
)

_TAG_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_TAG_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL


class DecryptionRefused(Exception):
    """An artifact that is damaged, incomplete, or encrypted for another ECU."""


class _Stream:
    """The secretstream that follows the prefix. It returns one chunk's plaintext at a time."""

    def __init__(self, prefix: bytes, key: PrivateKey) -> None:
        try:
            self.header: Header = parse_header(prefix)
        except ContainerError as error:
            raise DecryptionRefused(str(error)) from error
        # Additional data of each chunk: a header that was changed (chunk size, total length) authenticates none of them.
        self._associated = prefix[:HEADER_BYTES]
        self._chunk = 0
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        stream_key = _open_key(prefix[HEADER_BYTES : HEADER_BYTES + SEALED_KEY_BYTES], key)
        stream_header = prefix[HEADER_BYTES + SEALED_KEY_BYTES :]
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, stream_header, stream_key)

    @property
    def is_over(self) -> bool:
        return self._chunk == self.header.chunks

    @property
    def next_bytes(self) -> int:
        """The length of the next chunk; 0 after the last one."""
        left = self.header.plaintext_bytes - self._chunk * self.header.chunk_bytes
        return min(left, self.header.chunk_bytes) + CHUNK_OVERHEAD_BYTES if left > 0 else 0

    def open(self, chunk: bytes) -> bytes:
        try:
            plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, chunk, self._associated)
        except exceptions.CryptoError as error:
            raise DecryptionRefused(
                f"chunk {self._chunk} of {self.header.chunks} is not authentic: changed, missing, repeated or out of order"
            ) from error
        self._chunk += 1
        # The tag is encrypted with the chunk: an artifact that was cut at a chunk's end has no TAG_FINAL at its new end.
        if tag != (_TAG_FINAL if self.is_over else _TAG_MESSAGE):
            raise DecryptionRefused(
                f"chunk {self._chunk - 1} of {self.header.chunks} does not have the mark of its place"
            )
        return plain


class DecryptingDownload:
    """An encrypted artifact on its way into another download.

    Args:
        inner: receives the plaintext.
        key: this ECU's private key.
        plaintext_bytes: the length that the header must have; None for a patch, whose length 34 does not announce.
    """

    def __init__(self, inner: Download, key: PrivateKey, *, plaintext_bytes: int | None) -> None:
        self.received_bytes = 0
        self.max_held_bytes = 0
        self.is_slot = inner.is_slot
        self.is_rebuilt = inner.is_rebuilt
        self._inner = inner
        self._key = key
        self._plaintext_bytes = plaintext_bytes
        self._stream: _Stream | None = None
        self._held = bytearray()

    @property
    def complete(self) -> bool:
        """Whether there is anything to finish. ``finish`` refuses an artifact that is incomplete."""
        # Not ``is_over``: 37 to an incomplete artifact is answered with 72 and has a stored reason; 24 means only "too early".
        return self.received_bytes > 0

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises DecryptionRefused, PatchRefused, TooMuchData, FlashError, PowerLost."""
        self._held += data
        self.received_bytes += len(data)
        self.max_held_bytes = max(self.max_held_bytes, len(self._held))
        # Header, sealed key and stream header come first, and may come in several blocks of 36.
        if self._stream is None:
            if len(self._held) < PREFIX_BYTES:
                return
            self._stream = self._start(self._take(PREFIX_BYTES))
        while (chunk_bytes := self._stream.next_bytes) and len(self._held) >= chunk_bytes:
            self._inner.write(self._stream.open(self._take(chunk_bytes)))
        # Bytes behind the last chunk are authenticated by nothing.
        if self._held and self._stream.is_over:
            raise DecryptionRefused(f"{len(self._held)} bytes follow the last chunk")

    def finish(self) -> None:
        """Raise DecryptionRefused, PatchRefused, FlashError, PowerLost."""
        if self._stream is None or not self._stream.is_over:
            raise DecryptionRefused(f"it ends after {self.received_bytes} bytes, before its last chunk")
        self._inner.finish()

    def _start(self, prefix: bytes) -> _Stream:
        stream = _Stream(prefix, self._key)
        if self._plaintext_bytes not in (None, stream.header.plaintext_bytes):
            raise DecryptionRefused(
                f"it holds {stream.header.plaintext_bytes} bytes, {self._plaintext_bytes} were announced"
            )
        return stream

    def _take(self, length: int) -> bytes:
        taken = bytes(self._held[:length])
        del self._held[:length]
        return taken


def _open_key(sealed: bytes, key: PrivateKey) -> bytes:
    try:
        return SealedBox(key).decrypt(sealed)
    except exceptions.CryptoError as error:
        raise DecryptionRefused("its key is not sealed for this ECU's key, or is damaged") from error


def parse_private_key(text: str) -> PrivateKey:
    """Return the key from its 64 hexadecimal digits.

    Raises:
        ValueError: they are not such digits.
    """
    key = bytes.fromhex(text.strip())
    if len(key) != KEY_BYTES:
        raise ValueError(f"{len(key)} bytes are not an X25519 key, which has {KEY_BYTES}")
    return PrivateKey(key)
