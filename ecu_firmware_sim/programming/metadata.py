"""The metadata window: where the Director's Targets lie in flash, and what an ECU reads from them.

Two readers with different trust: ``verified_entry`` is for decisions, ``announced_job_id`` is for trace and trouble codes only.
"""

from __future__ import annotations

from tuf.api._payload import Root

from otabench.ecu_firmware_sim.boot import manifest
from otabench.ecu_firmware_sim.boot.manifest import ManifestEntry
from otabench.ecu_firmware_sim.programming.storage import Storage


class MetadataWindow:
    """The window of one ECU.

    Args:
        storage: its NVM holds the VIN, the serial number and the last accepted version.
        root: the Director's pinned Root.
        hardware_id: the ECU's.
    """

    def __init__(self, storage: Storage, *, root: Root, hardware_id: str) -> None:
        self._storage = storage
        self._root = root
        self._hardware_id = hardware_id

    def verified_entry(self) -> ManifestEntry:
        """Return this ECU's entry in verified Targets. Raises ManifestRefused, PowerLost."""
        # VIN and serial from NVM and not from the configuration: they are the ECU's own since it was delivered.
        stored = self._storage.nvm.current
        return manifest.accept(
            self._document(),
            root=self._root,
            vin=stored.vin,
            serial=stored.serial,
            hardware_id=self._hardware_id,
            last_accepted_version=stored.manifest_version,
        )

    def announced_job_id(self) -> str | None:
        """Return the job that the window names, without verifying anything. Raises PowerLost."""
        return manifest.announced_job_id(self._document())

    def _document(self) -> bytes:
        flash, layout = self._storage.flash, self._storage.layout
        # The window has no length field: erased flash follows the document, and JSON does not end in FF.
        return flash.read(layout.metadata_offset, layout.metadata_bytes).rstrip(b"\xff")
