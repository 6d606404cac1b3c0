"""One download: the destination of the bytes of 36, and their processing by 37.

Three kinds with one interface: an image and metadata are programmed page by page while they arrive. A patch is judged while it arrives,
kept in RAM and rebuilt at the end. An encrypted download goes through ``decryption`` into one of them. Bytes are counted here; the block
sequence counter is the UDS service's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from otabench.ecu_firmware_sim.flash.layout import PAGE_BYTES
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.programming import delta
from otabench.ecu_firmware_sim.programming.delta import PatchRefused, RebuildReport
from otabench.proto.uptane import PatchCustom


@dataclass(frozen=True)
class DownloadFormat:
    """The format of the data of 36. The two fields are independent: a patch may be encrypted as well as an image."""

    is_patch: bool = False
    is_encrypted: bool = False


class TooMuchData(Exception):
    """More bytes than were announced, or than there is room for."""


class Download(Protocol):
    """A download that takes bytes in order, and is finished once it has all of them."""

    received_bytes: int
    is_slot: bool
    is_rebuilt: bool
    """Whether ``finish`` builds the image, which may take long."""

    @property
    def complete(self) -> bool:
        """Whether ``finish`` may be called."""
        ...

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises TooMuchData, PatchRefused, DecryptionRefused, FlashError, PowerLost."""
        ...

    def finish(self) -> None:
        """Program what is left. Raises PatchRefused, DecryptionRefused, FlashError, PowerLost."""
        ...


class PageWriter:
    """Programs a stream of bytes in whole pages: each page once, when it is full."""

    def __init__(self, flash: NorFlash, offset: int) -> None:
        self._flash = flash
        self._offset = offset
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Raise FlashError, PowerLost."""
        # A block of 36 is not a whole number of pages, and parts with ECC cannot program a page in two steps.
        data = self._rest + data
        whole = len(data) - (self._offset + len(data)) % PAGE_BYTES
        if whole <= 0:
            self._rest = data
            return
        self._flash.program(self._offset, data[:whole])
        self._offset += whole
        self._rest = data[whole:]

    def flush(self) -> None:
        """Raise FlashError, PowerLost."""
        # The last page is programmed in part; its rest stays erased, and nothing is programmed there before the next erase.
        rest, self._rest = self._rest, b""
        self._flash.program(self._offset, rest)
        self._offset += len(rest)


class RawDownload:
    """A plain image: neither a patch nor encrypted."""

    is_slot = True
    is_rebuilt = False

    def __init__(self, flash: NorFlash, offset: int, size: int) -> None:
        self.received_bytes = 0
        self._size = size
        self._writer = PageWriter(flash, offset)

    @property
    def complete(self) -> bool:
        return self.received_bytes == self._size

    def write(self, data: bytes) -> None:
        if self.received_bytes + len(data) > self._size:
            raise TooMuchData(f"{self._size} bytes were announced")
        # Counted after it is written: a block that the flash refused was not received.
        self._writer.write(data)
        self.received_bytes += len(data)

    def finish(self) -> None:
        self._writer.flush()


class MetadataDownload(RawDownload):
    """The Director's Targets. The first write erases the window, which holds one document at a time.

    Args:
        window_bytes: the size of the window.
        changed: called after the window was erased, and after the document is complete.
    """

    is_slot = False

    def __init__(
        self, flash: NorFlash, offset: int, size: int, *, window_bytes: int, changed: Callable[[], None]
    ) -> None:
        super().__init__(flash, offset, size)
        self._flash = flash
        self._start = offset
        self._window_bytes = window_bytes
        self._changed = changed

    def write(self, data: bytes) -> None:
        # Erased here and not by the tester: the old Targets stay valid until the new ones really arrive.
        if self.received_bytes == 0 and not self._flash.is_erased(self._start, self._window_bytes):
            self._flash.erase(self._start, self._window_bytes)
            self._changed()
        super().write(data)

    def finish(self) -> None:
        super().finish()
        self._changed()


class PatchDownload:
    """A patch against the running image, rebuilt into the slot by ``finish``.

    Args:
        base: the running image; ``verification`` has compared it with ``facts``.
        facts: the patch as verified Targets describe it.
        ram_bytes: the memory that patch and rebuild may use together.

    Raises:
        PatchRefused: the patch does not fit into the RAM.
    """

    is_slot = True
    is_rebuilt = True

    def __init__(
        self, flash: NorFlash, offset: int, size: int, *, base: memoryview, facts: PatchCustom, ram_bytes: int
    ) -> None:
        self.received_bytes = 0
        self.report: RebuildReport | None = None
        self._size = size
        self._base = base
        self._sha256 = facts.sha256
        self._ram_bytes = ram_bytes
        self._arrival = delta.Arrival(patch_bytes=facts.length, new_bytes=size, ram_bytes=ram_bytes)
        self._writer = PageWriter(flash, offset)

    @property
    def complete(self) -> bool:
        return self._arrival.complete

    def write(self, data: bytes) -> None:
        self._arrival.take(data)
        self.received_bytes = self._arrival.received_bytes

    def finish(self) -> None:
        patch = self._arrival.give()
        # Before anything is decompressed: only a patch that the Director has signed reaches the decoder's more intricate rules.
        if hashlib.sha256(patch).hexdigest() != self._sha256:
            raise PatchRefused("the patch differs from the one in the manifest")
        self.report = delta.rebuild(
            patch, base=self._base, new_bytes=self._size, ram_bytes=self._ram_bytes, write=self._writer.write
        )
        self._writer.flush()
