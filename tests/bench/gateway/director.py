"""A Director for tests: keys, a Root, and honest or forged manifests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its public names
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Timestamp,
)

from otabench.bench.perf.targets import TargetsEntry, make_targets, sign
from otabench.proto.uptane import RootCustom, TimeKeys

_ROLES = ("root", "timestamp", "snapshot", "targets")


@dataclass(frozen=True)
class Artifact:
    """One file of a manifest."""

    path: str
    content: bytes
    custom: dict[str, Any]


@dataclass
class Director:
    """The Director of one vehicle."""

    signers: dict[str, CryptoSigner] = field(
        default_factory=lambda: {role: CryptoSigner.generate_ed25519() for role in _ROLES}
    )
    time_keys: tuple[str, ...] = ()
    """Public keys that attest the time, in hex."""

    def root(self, *, version: int = 1, signed_by: Director | None = None) -> bytes:
        """Return this Director's Root, signed by its own Root key or by another Director's."""
        root = Root(version=version, expires=datetime.now(UTC) + timedelta(days=365), consistent_snapshot=False)
        for role, signer in self.signers.items():
            root.add_key(signer.public_key, role)
        if self.time_keys:
            root.unrecognized_fields["custom"] = RootCustom(time=TimeKeys(keys=self.time_keys)).model_dump(mode="json")
        metadata = Metadata(root)
        metadata.sign((signed_by or self).signers["root"])
        return metadata.to_bytes()

    def bundle(
        self, artifacts: Sequence[Artifact], *, custom: dict[str, Any], version: int = 1, lifetime_s: float = 3600.0
    ) -> dict[str, bytes]:
        """Return a manifest as GetManifest delivers it."""
        expires = (datetime.now(UTC) + timedelta(seconds=lifetime_s)).replace(microsecond=0)
        entries = [TargetsEntry(each.path, each.content, each.custom) for each in artifacts]
        targets = self._signed(make_targets(entries, custom=custom, version=version, expires=expires), "targets")
        snapshot = self._signed(
            Snapshot(version=version, expires=expires, meta={"targets.json": _meta(version, targets)}), "snapshot"
        )
        timestamp = self._signed(
            Timestamp(version=version, expires=expires, snapshot_meta=_meta(version, snapshot)), "timestamp"
        )
        return {"timestamp.json": timestamp, "snapshot.json": snapshot, "targets.json": targets}

    def _signed(self, signed: Any, role: str) -> bytes:
        return sign(signed, self.signers[role])


def _meta(version: int, content: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(content), hashes={"sha256": hashlib.sha256(content).hexdigest()})
