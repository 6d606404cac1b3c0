"""The metadata window: where the Director's Roots, its Targets and the time lie in flash, and what an ECU reads from them.

Two readers with different trust: ``verified_entry`` is for decisions, ``announced_job_id`` is for trace and trouble codes only.

The time is attested for a nonce that this ECU gave out (F1A2). It lives in RAM. After a reset the attestation in the window is for nobody,
and is passed over: a tester that withholds it can do no worse. What is attested is never earlier than what was attested before.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from otabench.ecu_firmware_sim.boot import manifest
from otabench.ecu_firmware_sim.boot.image import CheckStatus
from otabench.ecu_firmware_sim.boot.manifest import ManifestEntry, ManifestRefused
from otabench.ecu_firmware_sim.boot.root_chain import RootRefused, TrustedRoot
from otabench.ecu_firmware_sim.flash.nvm import NvmData
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.proto import metadata_window, time_attestation
from otabench.proto.metadata_window import MalformedWindow, WindowContents
from otabench.proto.time_attestation import NONCE_BYTES, AttestationRefused


@dataclass(frozen=True)
class _Trust:
    """The keys and times that are valid under the newest Root of the metadata window."""

    root: TrustedRoot
    manifest_version: int
    attested_time_s: int


class MetadataWindow:
    """The window of one ECU, from one boot to the next.

    Args:
        storage: its NVM holds the VIN, the serial number, the newest Root, the last accepted version and the last attested time.
        root: the Director's pinned Root.
        hardware_id: the ECU's.
    """

    def __init__(self, storage: Storage, *, root: TrustedRoot, hardware_id: str) -> None:
        self._storage = storage
        self._pinned = root
        self._hardware_id = hardware_id
        self._nonce: bytes | None = None

    @property
    def root_version(self) -> int:
        """The version of the newest Director's Root that this ECU keeps."""
        return self._pinned.restored(self._storage.nvm.current.root).version

    def new_nonce(self) -> bytes:
        """Return a nonce for a time attestation. The one before no longer counts."""
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        return self._nonce

    def verified_entry(self) -> ManifestEntry:
        """Return this ECU's entry in verified Targets. Raises ManifestRefused, PowerLost."""
        contents = self._contents()
        # VIN and serial from NVM and not from the configuration: they are the ECU's own since it was delivered.
        stored = self._storage.nvm.current
        trust = self._trust(stored, contents)
        return manifest.accept(
            contents.targets,
            root=trust.root,
            vin=stored.vin,
            serial=stored.serial,
            hardware_id=self._hardware_id,
            last_accepted_version=trust.manifest_version,
            attested_time_s=trust.attested_time_s,
        )

    def trust_to_keep(self) -> dict[str, object]:
        """Return what must go into NVM of the window's Roots and time, whatever becomes of the Targets.

        All of it belongs into one record: a version that was counted under other keys must never meet the new ones.

        Raises:
            ManifestRefused: the chain does not begin at the Root that this ECU trusts, or breaks off; the time is not attested to it.
            PowerLost: there is no power.
        """
        stored = self._storage.nvm.current
        trust = self._trust(stored, self._contents())
        changes: dict[str, object] = {
            "manifest_version": trust.manifest_version,
            "attested_time_s": trust.attested_time_s,
        }
        if trust.root.version > self._pinned.restored(stored.root).version:
            changes["root"] = trust.root.stored()
        return changes

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

    def _trust(self, stored: NvmData, contents: WindowContents) -> _Trust:
        trusted = self._pinned.restored(stored.root)
        refused = CheckStatus.MANIFEST_REFUSED
        try:
            newest = trusted.follow(contents.roots)
        except RootRefused as error:
            raise ManifestRefused(refused, str(error)) from error
        # Replaced keys end a fast-forward: their thief may have signed a version or a time so high that nothing could follow
        # (TUF 1.0, 5.3.11, for the roles of which a full client keeps versions).
        same_targets = trusted.targets.keys.keys() == newest.targets.keys.keys()
        same_time = trusted.time is None or (newest.time is not None and {*trusted.time.keys} == {*newest.time.keys})
        since_s = stored.attested_time_s if same_time else 0
        try:
            attested_s = self._attested(newest, contents, since_s)
        except AttestationRefused as error:
            raise ManifestRefused(refused, str(error)) from error
        return _Trust(newest, stored.manifest_version if same_targets else 0, attested_s)

    def _attested(self, root: TrustedRoot, contents: WindowContents, since_s: int) -> int:
        if not contents.time or root.time is None or self._nonce is None:
            return since_s
        time_s = time_attestation.verify(contents.time, nonce=self._nonce, keys=root.time)
        if time_s < since_s:
            raise AttestationRefused(f"the attested time goes back by {since_s - time_s} s")
        return time_s
