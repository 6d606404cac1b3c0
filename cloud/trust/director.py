"""The Director: sign a vehicle's manifest as TUF Targets, Snapshot and Timestamp.

    director = Director(load_director_keys(keys_dir))
    manifest = director.sign(version=7, expires_at=time.time() + 86_400, custom=custom, targets=targets)

The three roles of one manifest share version and expiry, because they are always made together. docs/contracts.md describes the metadata
("Director metadata").

The caller chooses version numbers and stores the metadata. ``campaigns.vehicle_rules`` decides whether a vehicle gets the update.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # its public name
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its public names
    Metadata,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from otabench.cloud.trust.keys import DirectorKeys
from otabench.proto import time_attestation
from otabench.proto.normal_form import to_nfc
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, TargetCustom


@dataclass(frozen=True)
class TargetEntry:
    """One ECU's full image in a manifest."""

    path: str
    length: int
    sha256: str
    custom: TargetCustom


@dataclass(frozen=True)
class SignedManifest:
    """A manifest: three signed files."""

    version: int
    expires_at: float
    """Seconds since 1970, UTC."""
    timestamp: bytes
    snapshot: bytes
    targets: bytes
    patches: dict[str, int]
    """The size in bytes of each patch in the manifest, by hardware id."""

    def files(self) -> dict[str, bytes]:
        """Return the files by the names that a TUF client requests (``consistent_snapshot`` is false)."""
        return {"timestamp.json": self.timestamp, "snapshot.json": self.snapshot, "targets.json": self.targets}


class HoldsDirectorKeys(Protocol):
    """``DirectorKeys`` themselves, or a ``Keyring``, whose keys change when there is a newer Root."""

    def current(self) -> DirectorKeys: ...


class Director:
    """A signer of manifests. It needs only the online keys, so Root's keys may stay offline."""

    def __init__(self, keys: HoldsDirectorKeys) -> None:
        self._keys = keys
        # Compact, because the Targets cross the bus once for each ECU.
        self._serializer = JSONSerializer(compact=True)

    def sign(
        self, *, version: int, expires_at: float, custom: ManifestCustom, targets: Sequence[TargetEntry]
    ) -> SignedManifest:
        """Make and sign one manifest.

        Args:
            version: the version of all three roles. It must be higher than any version that this vehicle has received.
            expires_at: seconds since 1970, UTC. Fractions are dropped, because TUF does not have them.
            custom: the part about the vehicle and the job.
            targets: the ECUs' images, each with another path.
        """
        expires = datetime.fromtimestamp(int(expires_at), UTC)
        # Once for the three files: a rotation in between must not divide a manifest.
        signers = self._keys.current().signers
        signed = Targets(
            version=version,
            expires=expires,
            targets={entry.path: _target_file(entry) for entry in targets},
            # python-tuf keeps members that it does not define, and signs and verifies them like the others.
            unrecognized_fields={MANIFEST_CUSTOM_KEY: _canonical(custom.model_dump(mode="json"))},
        )
        targets_bytes = self._signed_bytes(Metadata(signed), signers["targets"])
        snapshot = Snapshot(version=version, expires=expires, meta={"targets.json": _meta_file(version, targets_bytes)})
        snapshot_bytes = self._signed_bytes(Metadata(snapshot), signers["snapshot"])
        timestamp = Timestamp(version=version, expires=expires, snapshot_meta=_meta_file(version, snapshot_bytes))
        return SignedManifest(
            version=version,
            expires_at=expires.timestamp(),
            timestamp=self._signed_bytes(Metadata(timestamp), signers["timestamp"]),
            snapshot=snapshot_bytes,
            targets=targets_bytes,
            patches={t.custom.hardware_id: t.custom.patch.length for t in targets if t.custom.patch is not None},
        )

    @property
    def root_version(self) -> int:
        """The version of the Root whose keys sign now."""
        return self._keys.current().root.signed.version

    def attest_time(self, nonce: bytes, *, now: float) -> bytes | None:
        """Return the time, signed together with a nonce. None: the Root lists no key for that. Raises ValueError."""
        key = self._keys.current().time
        return None if key is None else time_attestation.attest(time_s=int(now), nonce=nonce, keys=[key])

    def has_signed_with_present_keys(self, files: Mapping[str, bytes]) -> bool:
        """Return whether the present keys have signed a manifest's files (by role)."""
        keys = self._keys.current()
        return keys.root_version_of(files) == keys.root.signed.version

    def root_files_for(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return ``N.root.json`` for N > 1, up to the newest Root under which a manifest's files (by role) are valid.

        Not beyond it: a vehicle that received a newer Root would refuse the manifest that a rotation has overtaken.
        """
        keys = self._keys.current()
        return keys.root_files_until(keys.root_version_of(files))

    def _signed_bytes(self, metadata: Metadata[Any], signer: Signer) -> bytes:
        metadata.sign(signer)
        return metadata.to_bytes(self._serializer)


def _target_file(entry: TargetEntry) -> TargetFile:
    return TargetFile(
        length=entry.length,
        hashes={"sha256": entry.sha256},
        path=entry.path,
        unrecognized_fields={"custom": _canonical(entry.custom.model_dump(mode="json", exclude_none=True))},
    )


def _meta_file(version: int, content: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(content), hashes={"sha256": hashlib.sha256(content).hexdigest()})


def _canonical(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with whole numbers and normalized texts.

    Numbers are rounded up: TUF signs canonical JSON, which does not have fractions. Texts are brought into Unicode Normalization Form C,
    because operators type release notes in whatever form their system has.
    """
    rounded = {key: math.ceil(value) if isinstance(value, float) else value for key, value in fields.items()}
    return {key: to_nfc(value) for key, value in rounded.items()}
