"""The metadata window: where the Director's Roots and Targets lie in flash, and what an ECU reads from them.

Two readers with different trust: ``verified_entry`` is for decisions, ``announced_job_id`` is for trace and trouble codes only.
"""

from __future__ import annotations

from otabench.ecu_firmware_sim.boot import manifest
from otabench.ecu_firmware_sim.boot.image import CheckStatus
from otabench.ecu_firmware_sim.boot.manifest import ManifestEntry, ManifestRefused
from otabench.ecu_firmware_sim.boot.root_chain import RootRefused, TrustedRoot
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.proto import metadata_window
from otabench.proto.metadata_window import MalformedWindow, WindowContents


class MetadataWindow:
    """The window of one ECU.

    Args:
        storage: its NVM holds the VIN, the serial number, the newest Root and the last accepted version.
        root: the Director's pinned Root.
        hardware_id: the ECU's.
    """

    def __init__(self, storage: Storage, *, root: TrustedRoot, hardware_id: str) -> None:
        self._storage = storage
        self._pinned = root
        self._hardware_id = hardware_id

    def verified_entry(self) -> ManifestEntry:
        """Return this ECU's entry in verified Targets. Raises ManifestRefused, PowerLost."""
        contents = self._contents()
        # VIN and serial from NVM and not from the configuration: they are the ECU's own since it was delivered.
        stored = self._storage.nvm.current
        trusted = self._pinned.restored(stored.root)
        root = _follow(trusted, contents)
        return manifest.accept(
            contents.targets,
            root=root,
            vin=stored.vin,
            serial=stored.serial,
            hardware_id=self._hardware_id,
            last_accepted_version=_counting_version(stored.manifest_version, trusted, root),
        )

    def keep_root(self) -> None:
        """Store the newest Root to which the window's chain leads, unless it is stored already.

        Raises:
            ManifestRefused: the chain does not begin at the Root that this ECU trusts, or breaks off.
            PowerLost: power went; the stored Root is the old or the new one.
        """
        nvm = self._storage.nvm
        trusted = self._pinned.restored(nvm.current.root)
        newest = _follow(trusted, self._contents())
        if newest is not trusted:
            # Both in one record: a version that was counted under other keys must never meet the new ones.
            version = _counting_version(nvm.current.manifest_version, trusted, newest)
            nvm.update(root=newest.stored(), manifest_version=version)

    def announced_job_id(self) -> str | None:
        """Return the job that the window names, without verifying anything. Raises PowerLost."""
        try:
            return manifest.announced_job_id(self._contents().targets)
        except ManifestRefused:
            return None

    def _contents(self) -> WindowContents:
        flash, layout = self._storage.flash, self._storage.layout
        # The window has no length field: erased flash follows the document, and JSON does not end in FF.
        data = flash.read(layout.metadata_offset, layout.metadata_bytes).rstrip(b"\xff")
        try:
            return metadata_window.parse(data)
        except MalformedWindow as error:
            raise ManifestRefused(CheckStatus.MANIFEST_REFUSED, f"the metadata window: {error}") from error


def _follow(trusted: TrustedRoot, contents: WindowContents) -> TrustedRoot:
    try:
        return trusted.follow(contents.roots)
    except RootRefused as error:
        raise ManifestRefused(CheckStatus.MANIFEST_REFUSED, str(error)) from error


def _counting_version(version: int, trusted: TrustedRoot, newest: TrustedRoot) -> int:
    """Return the last accepted version of Targets, or 0 if their keys were replaced since.

    A thief of the old keys may have signed a version so high that nothing could follow it (fast-forward attack; TUF 1.0, 5.3.11, for the
    roles of which a full client keeps versions).
    """
    return version if trusted.targets.keys.keys() == newest.targets.keys.keys() else 0
