"""The metadata in an evidence file, verified from pinned Roots as they did when the gateway accepted them. Pure: bytes and a time in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import unquote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined]  # its public names
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from otabench.proto.uptane import TimeKeys, time_keys_of

DIRECTOR: Final = "metadata/director/"
IMAGE: Final = "metadata/image/"
_TOP_LEVEL: Final = ("timestamp", "snapshot", "targets")


class NotTrusted(Exception):
    """A file does not verify; the text names it."""


def verify(parts: Mapping[str, bytes], folder: str, *, root: bytes, at: datetime) -> list[Targets]:
    """Return the Targets of a repository: the top-level ones, then those of its delegated roles.

    Args:
        parts: all parts of the evidence file.
        folder: ``DIRECTOR`` or ``IMAGE``.
        root: the pinned Root.
        at: the time by which expiry is judged. A year after the update all metadata have expired.

    Raises:
        NotTrusted: a file is missing, or does not verify.
    """
    name = "the pinned Root"
    try:
        trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
        trusted.reference_time = at
        while (name := f"{folder}root_history/{trusted.root.version + 1}.root.json") in parts:
            trusted.update_root(parts[name])
        name = f"{folder}timestamp.json"
        trusted.update_timestamp(parts[name])
        name = f"{folder}snapshot.json"
        trusted.update_snapshot(parts[name])
        name = f"{folder}targets.json"
        found = [trusted.update_targets(parts[name])]
        for name in sorted(_delegated(parts, folder)):
            role = unquote(name.removeprefix(folder).removesuffix(".json"))
            found.append(trusted.update_delegated_targets(parts[name], role, "targets"))
    except KeyError as error:
        raise NotTrusted(f"{error.args[0]} is missing") from error
    except (RepositoryError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise NotTrusted(f"{name} does not verify from the pinned Root: {problem}") from error
    return found


def time_keys(parts: Mapping[str, bytes], *, root: bytes) -> TimeKeys:
    """Return the keys that attest the time, from the newest Root that the Director's pinned Root leads to.

    Raises:
        NotTrusted: a Root does not verify, or the newest lists no such keys.
    """
    try:
        trusted = TrustedMetadataSet(root, EnvelopeType.METADATA)
        while (name := f"{DIRECTOR}root_history/{trusted.root.version + 1}.root.json") in parts:
            trusted.update_root(parts[name])
        keys = time_keys_of(trusted.root.unrecognized_fields)
    except (RepositoryError, ValueError) as error:
        raise NotTrusted(f"the Director's Root does not verify: {' '.join(str(error).split())[:200]}") from error
    if keys is None:
        raise NotTrusted("the Director's Root lists no time keys")
    return keys


def find(targets: Sequence[Targets], path: str) -> TargetFile | None:
    """Return what a repository states about an image; None if it does not list it."""
    return next((each.targets[path] for each in targets if path in each.targets), None)


def agree(one: TargetFile, other: TargetFile) -> bool:
    """Return whether two repositories state the same file: its length, and every hash that both of them state."""
    common = one.hashes.keys() & other.hashes.keys()
    return (
        one.length == other.length and bool(common) and all(one.hashes[each] == other.hashes[each] for each in common)
    )


def _delegated(parts: Mapping[str, bytes], folder: str) -> list[str]:
    own = {f"{folder}{role}.json" for role in _TOP_LEVEL}
    return [
        name for name in parts if name.startswith(folder) and "/" not in name.removeprefix(folder) and name not in own
    ]
