"""The Image repository's metadata in the cloud: check what the offline keys have signed, and sign Snapshot and Timestamp over it.

    keys = load_image_repository_keys(keys_dir)
    published = check_publication(keys.root, files, current=stored)
    stored |= sign_snapshot(keys, published, version=8, now=time.time())

The cloud holds the online keys only. Whoever breaks into it can neither add an image nor change one: Root and Targets are signed offline,
and so are the Targets of each supplier, to whom the top-level Targets delegate (docs/contracts.md, "Image repository").

This module uses neither database nor network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # its public name
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its public names
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from otabench.cloud.trust.keys import load_roots, load_signer
from otabench.proto.normal_form import NotNormalized, require_nfc

ONLINE_LIFETIME: Final = timedelta(days=1)
"""Of Snapshot and Timestamp. They are signed again after half of it."""
FOLDER: Final = "image_repository"
"""Of the key folder."""
TOP_LEVEL: Final = "targets.json"
MAX_FILES: Final = 200
MAX_FILE_BYTES: Final = 1024 * 1024


class PublicationRefused(Exception):
    """Metadata that the repository does not accept. The message states why."""


@dataclass(frozen=True)
class ImageRepositoryKeys:
    """The cloud's keys of the Image repository."""

    root: Root
    """The newest Root."""
    root_files: Mapping[str, bytes]
    """``N.root.json`` for N > 1, for vehicles that have pinned an older Root."""
    snapshot: Signer
    timestamp: Signer

    def current(self) -> ImageRepositoryKeys:
        """Return these keys. ``keyring.Keyring`` returns the keys that are valid now."""
        return self

    def have_signed(self, stored: Mapping[str, bytes]) -> bool:
        """Return whether these keys have signed the stored Snapshot and Timestamp."""
        return all(
            signer.public_key.keyid in Metadata[Any].from_bytes(stored[name]).signatures
            for name, signer in (("snapshot.json", self.snapshot), ("timestamp.json", self.timestamp))
        )


def load_image_repository_keys(keys_dir: Path) -> ImageRepositoryKeys | None:
    """Return the Image repository's Roots and online keys. None: this key folder was made before there was one.

    Raises:
        StartError: a file is missing or malformed.
    """
    folder = keys_dir / FOLDER
    if not (folder / "root.json").exists():
        return None
    roots, later = load_roots(folder)
    root = roots[-1].signed
    return ImageRepositoryKeys(
        root=root,
        root_files=later,
        snapshot=load_signer(folder / "snapshot.pem", "snapshot", root),
        timestamp=load_signer(folder / "timestamp.pem", "timestamp", root),
    )


def check_publication(
    root: Root, files: Mapping[str, bytes], *, current: Mapping[str, bytes], now: datetime
) -> dict[str, bytes]:
    """Return all Targets of the repository after a publication: the top-level ones, and those of every delegated role.

    Args:
        root: the newest Root.
        files: the new files by name; roles that they leave out stay as they are.
        current: the Targets stored now, by name.
        now: what expiry is judged by.

    Raises:
        PublicationRefused: a file is not signed by its role's keys, is older than the current one, or has expired; or a role is missing.
    """
    if len(files) > MAX_FILES:
        raise PublicationRefused(f"{len(files)} files are more than {MAX_FILES}")
    for name, content in files.items():
        if len(content) > MAX_FILE_BYTES:
            raise PublicationRefused(f"{name}: {len(content)} bytes are more than {MAX_FILE_BYTES}")
        try:
            require_nfc(content)
        except NotNormalized as error:
            raise PublicationRefused(f"{name}: {error}") from error
    merged = {**current, **files}
    top = _verified(root, "targets", merged, current=current, now=now)
    result = {TOP_LEVEL: merged[TOP_LEVEL]}
    delegations = top.delegations
    for role in (delegations.roles or {}) if delegations is not None else {}:
        delegated = _verified(top, role, merged, current=current, now=now)
        # One level is enough for suppliers, and keeps the search of a vehicle short.
        if delegated.delegations is not None:
            raise PublicationRefused(f"{role}: a supplier does not delegate further here")
        result[f"{role}.json"] = merged[f"{role}.json"]
    if unknown := sorted(set(files) - set(result)):
        raise PublicationRefused(f"{', '.join(unknown)}: the top-level Targets do not delegate to it")
    return result


def sign_snapshot(
    keys: ImageRepositoryKeys, targets: Mapping[str, bytes], *, version: int, now: datetime
) -> dict[str, bytes]:
    """Return ``snapshot.json`` and ``timestamp.json`` over all Targets, both of that version."""
    expires = now.replace(microsecond=0) + ONLINE_LIFETIME
    listed = {
        name: _meta(Metadata[Targets].from_bytes(content).signed.version, content) for name, content in targets.items()
    }
    snapshot = _sign(Snapshot(version=version, expires=expires, meta=listed), keys.snapshot)
    timestamp = _sign(
        Timestamp(version=version, expires=expires, snapshot_meta=_meta(version, snapshot)), keys.timestamp
    )
    return {"snapshot.json": snapshot, "timestamp.json": timestamp}


def needs_new_snapshot(timestamp: bytes, *, now: datetime) -> bool:
    """Return whether half of the Timestamp's lifetime is over."""
    expires = Metadata[Timestamp].from_bytes(timestamp).signed.expires
    return expires.replace(tzinfo=UTC) - now < ONLINE_LIFETIME / 2


def listed_targets(targets: Mapping[str, bytes]) -> dict[str, TargetFile]:
    """Return everything that checked Targets list, by path."""
    found: dict[str, TargetFile] = {}
    for content in targets.values():
        found |= Metadata[Targets].from_bytes(content).signed.targets
    return found


def _verified(
    delegator: Root | Targets, role: str, files: Mapping[str, bytes], *, current: Mapping[str, bytes], now: datetime
) -> Targets:
    name = f"{role}.json"
    if name not in files:
        raise PublicationRefused(f"{name} is missing")
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(files[name])
        if not isinstance(metadata.signed, Targets):
            raise PublicationRefused(f"{name} is {metadata.signed.type} metadata, not targets")
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, RecursionError) as error:
        raise PublicationRefused(
            f"{name} is not signed by the keys of its role: {' '.join(str(error).split())[:200]}"
        ) from error
    signed = metadata.signed
    if name in current and signed.version < Metadata[Targets].from_bytes(current[name]).signed.version:
        raise PublicationRefused(f"{name}: version {signed.version} is older than the published one")
    if signed.is_expired(now):
        raise PublicationRefused(f"{name} has expired: sign it again")
    return signed


def _meta(version: int, content: bytes) -> MetaFile:
    return MetaFile(version=version, length=len(content), hashes={"sha256": hashlib.sha256(content).hexdigest()})


def _sign(signed: Snapshot | Timestamp, signer: Signer) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes(JSONSerializer(compact=True))
