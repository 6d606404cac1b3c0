"""Verify the contents of flash: the image in the inactive slot, the base of a patch, the slot of a revert.

This module reads flash and writes nothing. ``permission`` has the rules which slot may be changed at all.

Rules:

* A slot becomes STAGED only if its image is the one that verified Targets name for this ECU, and may run here.
* Version and security counter must be the same in the Targets and in the image itself.
* A patch is accepted only if verified Targets name it, and the running image as its base: the format BSDIFF40 names no base.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nacl.public import PrivateKey

from otabench.ecu_firmware_sim.boot.bootloader import Bootloader, BootPolicy
from otabench.ecu_firmware_sim.boot.image import CheckStatus, ImageRefused
from otabench.ecu_firmware_sim.boot.manifest import ManifestEntry, ManifestRefused
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.ecu_firmware_sim.programming import delta
from otabench.ecu_firmware_sim.programming.metadata import MetadataWindow
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.proto import image_format
from otabench.proto.image_format import Image, ImageFormatError, ImageVersion
from otabench.proto.uptane import PatchCustom

_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_TAIL_BYTES: Final = 16
"""An image ends with its signature. If its last 16 bytes are all erased, they were never programmed."""


def _require_hashes(entry: ManifestEntry, content: memoryview) -> None:
    """Raise ImageRefused unless the image has every hash that the Targets list (Uptane: all of them, not one)."""
    for algorithm, stated in entry.hashes.items():
        if algorithm not in _HASHES:
            raise ImageRefused(CheckStatus.MANIFEST_REFUSED, f"the manifest's hash {algorithm} cannot be computed here")
        if hashlib.new(algorithm, content).hexdigest() != stated:
            raise ImageRefused(
                CheckStatus.DIGEST_DIFFERS,
                f"the image's {algorithm.upper().replace('SHA', 'SHA-')} differs from the manifest's",
            )


def _require_same_facts(entry: ManifestEntry, image: Image) -> None:
    """Raise ImageRefused if the Targets state another version or release counter than the image itself.

    Gateway, cloud and driver only see the metadata. Without this check, metadata with 9.9.9 could bring an older image.
    """
    stated = (entry.custom.version, entry.custom.release_counter)
    try:
        is_same = ImageVersion.parse(stated[0]) == image.version
    except ValueError:
        is_same = False
    if not is_same or stated[1] != image.security_counter:
        raise ImageRefused(
            CheckStatus.MANIFEST_REFUSED,
            f"the metadata state version {stated[0]} with release counter {stated[1]}, "
            f"the image is {image.version} with {image.security_counter}",
        )


class NotAccepted(Exception):
    """The download is in order, but this ECU cannot perform it."""


@dataclass(frozen=True)
class ProgrammingPolicy:
    """The fixed settings of one ECU's programming.

    Attributes:
        boot: what is burnt into the bootloader.
        root: the Director's pinned Root.
        ram_bytes: what rebuilding from a patch may use.
        decryption_key: opens encrypted downloads; None: this ECU refuses them.
    """

    boot: BootPolicy
    root: TrustedRoot
    ram_bytes: int
    decryption_key: PrivateKey | None = None


class Verification:
    """The verification of one ECU's slots against its metadata window."""

    def __init__(self, storage: Storage, policy: ProgrammingPolicy, bootloader: Bootloader) -> None:
        self._storage = storage
        self._ram_bytes = policy.ram_bytes
        self._bootloader = bootloader
        self._metadata = MetadataWindow(storage, root=policy.root, hardware_id=policy.boot.hardware_id)

    def readable_image(self, slot: int) -> Image | None:
        """Return the image that a slot's header describes, without verifying it; None without a header."""
        flash, layout = self._storage.flash, self._storage.layout
        try:
            return image_format.parse(flash.view(layout.slot_offset(slot), layout.slot_bytes))
        except ImageFormatError:
            return None

    def require_bootable(self, slot: int) -> Image:
        """Return the verified image of a slot. Raises ImageRefused, PowerLost."""
        minimum = self._storage.boot_control.current.minimum_security_counter
        return self._bootloader.verify(slot, minimum_security_counter=minimum)

    @property
    def root_version(self) -> int:
        """See ``MetadataWindow``."""
        return self._metadata.root_version

    def new_nonce(self) -> bytes:
        """Return a nonce for a time attestation (``MetadataWindow.new_nonce``)."""
        return self._metadata.new_nonce()

    def trust_to_keep(self) -> dict[str, object]:
        """Return what must go into NVM of the window's Roots and time. Raises ManifestRefused, PowerLost."""
        return self._metadata.trust_to_keep()

    def require_named(self, slot: int) -> tuple[ManifestEntry, Image]:
        """Return the verified image of a slot, and this ECU's entry in the verified Targets, which names it.

        Raises:
            ManifestRefused: the Targets are not acceptable.
            ImageRefused: the image is not the one that they name, or may not run here.
            PowerLost: there is no power.
        """
        entry = self._metadata.verified_entry()
        flash, layout = self._storage.flash, self._storage.layout
        offset = layout.slot_offset(slot)
        if entry.length > layout.slot_bytes:
            raise ImageRefused(CheckStatus.NO_IMAGE, f"the image's {entry.length} bytes exceed the slot")
        # Cut short is a status of its own: a tester sees that it has to transfer again, not that the image is wrong.
        if self.readable_image(slot) is None or self._is_cut_short(offset, entry.length):
            raise ImageRefused(CheckStatus.NO_IMAGE, "the slot holds no complete image")
        _require_hashes(entry, flash.view(offset, entry.length))
        image = self.require_bootable(slot)
        # The Targets' digest ends at the length that they name: an image that reaches further has bytes the Director never named.
        if image.total_size > entry.length:
            raise ImageRefused(CheckStatus.DIGEST_DIFFERS, "the image is longer than the manifest states")
        _require_same_facts(entry, image)
        return entry, image

    def require_patch(self, running: int | None) -> PatchCustom:
        """Return the patch as verified Targets describe it. Raises NotAccepted, PowerLost."""
        if running is None:
            raise NotAccepted("a patch, and there is no running image to patch")
        try:
            patch = self._metadata.verified_entry().custom.patch
        except ManifestRefused as error:
            raise NotAccepted(f"a patch, and no verified Targets name its base: {error}") from error
        if patch is None:
            raise NotAccepted("a patch, and the Targets name none, and so no base for it")
        base = self.base_of_patch(running)
        # BSDIFF40 has no checksum of its base: against another one it builds noise, which only check memory would notice.
        if len(base) != patch.base_length or hashlib.sha256(base).hexdigest() != patch.base_sha256:
            raise NotAccepted("the patch's base is not the running image")
        if patch.length > delta.max_patch_bytes(self._ram_bytes):
            raise NotAccepted(f"the patch's {patch.length} bytes do not fit into {self._ram_bytes} bytes of RAM")
        return patch

    def base_of_patch(self, slot: int) -> memoryview:
        """Return the image in a slot, in place: a base is as large as an image, and an ECU has no RAM for a copy."""
        flash, layout = self._storage.flash, self._storage.layout
        image = self.readable_image(slot)
        return flash.view(layout.slot_offset(slot), 0 if image is None else image.total_size)

    def _is_cut_short(self, offset: int, length: int) -> bool:
        tail = min(length, _TAIL_BYTES)
        return self._storage.flash.is_erased(offset + length - tail, tail)
