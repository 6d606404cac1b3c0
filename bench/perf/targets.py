"""Signed Targets without a cloud, for benchmarks and tests: the files, the vehicle's part, one signature.

The caller chooses every fact, so that a test can also state something false. ``cloud.trust.director`` makes those of a campaign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import TargetFile, Targets
from tuf.api.metadata import Metadata


@dataclass(frozen=True)
class TargetsEntry:
    """One file in Targets."""

    path: str
    content: bytes
    custom: dict[str, Any]
    """The file's own facts (``proto.uptane``)."""


def image_path(image: bytes, *, hardware_id: str, version: str) -> str:
    """Return the path of an image below the artifact server's base, as the cloud names it."""
    return f"images/{hashlib.sha256(image).hexdigest()}/{hardware_id}-{version}.bin"


def make_targets(
    entries: Sequence[TargetsEntry], *, custom: dict[str, Any], version: int, expires: datetime
) -> Targets:
    """Return unsigned Targets.

    Args:
        entries: its files.
        custom: the vehicle's part (``proto.uptane.ManifestCustom``).
        version: of the metadata.
        expires: without microseconds, as TUF requires.
    """
    files = {
        entry.path: TargetFile(
            len(entry.content),
            {"sha256": hashlib.sha256(entry.content).hexdigest()},
            entry.path,
            {"custom": entry.custom},
        )
        for entry in entries
    }
    return Targets(version=version, expires=expires, targets=files, unrecognized_fields={"custom": custom})


def sign(signed: Any, signer: CryptoSigner) -> bytes:
    """Return the metadata of any TUF role with one signature, as bytes."""
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes()
