"""A TUF repository for tests: keys, roles and the files that it serves. A test changes it, honestly or not, and publishes again."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its public names
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

TOP_ROLES = ("root", "timestamp", "snapshot", "targets")


def days(number: float) -> datetime:
    """Return a time that many days from now, as TUF writes it."""
    return (datetime.now(UTC) + timedelta(days=number)).replace(microsecond=0)


class TufRepository:
    """One repository. ``files`` is what it serves, by path below its base; ``publish`` fills it."""

    def __init__(self, *, consistent: bool = True, hashes: bool = True) -> None:
        self.hashes = hashes
        """Whether Timestamp and Snapshot state lengths and hashes of what they list."""
        self.root = Root(version=1, expires=days(365), consistent_snapshot=consistent)
        self.timestamp = Timestamp(expires=days(1))
        self.snapshot = Snapshot(expires=days(7))
        self.targets: dict[str, Targets] = {"targets": Targets(expires=days(30))}
        self.signers: dict[str, list[CryptoSigner]] = {role: [] for role in TOP_ROLES}
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        for role in TOP_ROLES:
            self.add_key(role)
        self.first_root = self.publish_root()
        self.publish()

    def add_key(self, role: str) -> CryptoSigner:
        """Give a top-level role a further key."""
        signer = CryptoSigner.generate_ed25519()
        self.root.add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def rotate(self, role: str) -> None:
        """Replace the keys of a top-level role, and publish the Root that states it."""
        old = self.signers[role]
        self.signers[role] = []
        for signer in old:
            self.root.revoke_key(signer.public_key.keyid, role)
        self.add_key(role)
        self.root.version += 1
        # A new Root is signed by the keys of the one before, too.
        self.publish_root(also_by=old if role == "root" else ())

    def publish_root(self, *, also_by: Any = ()) -> bytes:
        """Sign the Root as it is now, and serve it."""
        content = self._sign(self.root, [*self.signers["root"], *also_by])
        self.files[f"{self.root.version}.root.json"] = content
        return content

    def add_target(self, path: str, content: bytes, *, role: str = "targets", custom: Any = None) -> None:
        """List a file, and serve it below ``targets/``."""
        target = TargetFile.from_data(path, content, ["sha256"])
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.targets[role].targets[path] = target
        self.serve_target(path, content)

    def serve_target(self, path: str, content: bytes) -> None:
        """Serve a file's contents, whatever the metadata state."""
        stated = next((t.targets[path] for t in self.targets.values() if path in t.targets), None)
        folder, slash, name = path.rpartition("/")
        prefix = f"{stated.hashes['sha256']}." if stated is not None and self.root.consistent_snapshot else ""
        self.files[f"targets/{folder}{slash}{prefix}{name}"] = content

    def delegate(self, role: DelegatedRole, *, parent: str = "targets", expires: datetime | None = None) -> None:
        """Let ``parent`` delegate to a role with a key of its own."""
        signer = CryptoSigner.generate_ed25519()
        delegations = self.targets[parent].delegations
        if delegations is None:
            delegations = self.targets[parent].delegations = Delegations({}, {})
        assert delegations.roles is not None
        delegations.roles[role.name] = role
        self.targets[parent].add_key(signer.public_key, role.name)
        self.targets[role.name] = Targets(expires=expires or days(30))
        self.signers[role.name] = [signer]

    def publish(self) -> None:
        """Raise all versions but Root's by one, sign and serve them."""
        self.snapshot.meta = {}
        for role, targets in self.targets.items():
            targets.version += 1 if self.files.get("timestamp.json") else 0
            self.publish_targets(role)
        self.publish_snapshot()
        self.publish_timestamp()

    def publish_targets(self, role: str = "targets") -> None:
        """Sign and serve one Targets role as it is now, and list it in Snapshot."""
        targets = self.targets[role]
        content = self._sign(targets, self.signers[role])
        self._serve(role, targets.version, content)
        self.snapshot.meta[f"{role}.json"] = self._meta(targets.version, content)

    def publish_snapshot(self, *, bump: bool = True) -> None:
        """Sign and serve Snapshot."""
        self.snapshot.version += 1 if bump and self.files.get("timestamp.json") else 0
        content = self._sign(self.snapshot, self.signers["snapshot"])
        self._serve("snapshot", self.snapshot.version, content)
        self.timestamp.snapshot_meta = self._meta(self.snapshot.version, content)

    def publish_timestamp(self, *, bump: bool = True) -> None:
        """Sign and serve Timestamp."""
        self.timestamp.version += 1 if bump and self.files.get("timestamp.json") else 0
        self.files["timestamp.json"] = self._sign(self.timestamp, self.signers["timestamp"])

    def _serve(self, role: str, version: int, content: bytes) -> None:
        prefix = f"{version}." if self.root.consistent_snapshot else ""
        self.files[f"{prefix}{quote(role, '')}.json"] = content

    def _meta(self, version: int, content: bytes) -> MetaFile:
        if not self.hashes:
            return MetaFile(version)
        return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})

    def _sign(self, signed: Any, signers: Any) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()
