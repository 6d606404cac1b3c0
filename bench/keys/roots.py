"""The next Root of a repository: which keys it lists, and who must sign it. Pure.

    following = successor(current, {"timestamp": Replacement((old_keyid,), (new_key,))}, expires=expires)
    content = sign_root(following, before=current, signers=signers)

A new Root is signed by the thresholds of the one before and of itself (TUF 1.0, 6.1), so that vehicles can follow from one to the next.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from securesystemslib.signer import Key, Signer  # type: ignore[attr-defined]  # its public names
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names
from tuf.api.serialization.json import JSONSerializer

from otabench.bench.errors import KeysError
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, RootCustom, TimeKeys, time_keys_of

TIME: Final = "time"
"""Whose keys attest the time. It is not a role of TUF; its keys are in ``custom`` of the Director's Root (``proto.uptane.RootCustom``)."""


@dataclass(frozen=True)
class Replacement:
    """Keys of one role that are exchanged."""

    old: Collection[str]
    """Key ids."""
    new: Collection[Key]


def keyids_of(root: Root, role: str) -> list[str]:
    """Return the ids of a role's keys. A time key's id is its public half.

    Raises:
        KeysError: the Root's time keys are not well-formed.
    """
    if role != TIME:
        return list(root.roles[role].keyids)
    keys = _time_keys(root)
    return [] if keys is None else list(keys.keys)


def threshold_of(root: Root, role: str) -> int:
    """Return how many keys of a role must sign. Raises KeysError."""
    if role != TIME:
        return root.roles[role].threshold
    keys = _time_keys(root)
    return 1 if keys is None else keys.threshold


def key_id(key: Key, role: str) -> str:
    """Return the id by which a role lists a key."""
    return str(key.keyval["public"]) if role == TIME else key.keyid


def successor(current: Root, replaced: Mapping[str, Replacement], *, expires: datetime) -> Root:
    """Return the Root that follows, not signed yet.

    Args:
        current: the newest Root.
        replaced: what is exchanged, by role.
        expires: of the new Root.
    """
    following = copy.deepcopy(current)
    following.version += 1
    following.expires = expires
    for role, replacement in replaced.items():
        if role == TIME:
            _replace_time_keys(following, replacement)
            continue
        # First add, then revoke: a key that no role lists any more is dropped by ``revoke_key``.
        for key in replacement.new:
            following.add_key(key, role)
        for keyid in replacement.old:
            following.revoke_key(keyid, role)
    return following


def _replace_time_keys(root: Root, replacement: Replacement) -> None:
    kept = [keyid for keyid in keyids_of(root, TIME) if keyid not in replacement.old]
    keys = (*kept, *(key_id(key, TIME) for key in replacement.new))
    custom = RootCustom(time=TimeKeys(keys=keys, threshold=threshold_of(root, TIME)))
    root.unrecognized_fields[MANIFEST_CUSTOM_KEY] = {
        **root.unrecognized_fields.get(MANIFEST_CUSTOM_KEY, {}),
        **custom.model_dump(mode="json"),
    }


def _time_keys(root: Root) -> TimeKeys | None:
    try:
        return time_keys_of(root.unrecognized_fields)
    except ValueError as error:
        raise KeysError(
            f"Root {root.version}: its time keys are not well-formed: {error}; bring back a copy"
        ) from error


def sign_root(root: Root, *, before: Root, signers: Iterable[Signer]) -> bytes:
    """Return the signed Root.

    Args:
        root: the new one.
        before: the newest one until now.
        signers: of Root keys, old and new. Those that neither Root lists do not sign.

    Raises:
        KeysError: they do not reach both thresholds.
    """
    metadata = Metadata(root)
    entitled = {*before.roles[Root.type].keyids, *root.roles[Root.type].keyids}
    for signer in signers:
        if signer.public_key.keyid in entitled:
            metadata.sign(signer, append=True)
    for which, delegator in (("old", before), ("new", root)):
        try:
            delegator.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        except (RepositoryError, ValueError) as error:
            role = delegator.roles[Root.type]
            present = len(set(role.keyids) & metadata.signatures.keys())
            raise KeysError(
                f"Root {root.version} needs {role.threshold} of the {len(role.keyids)} {which} Root keys, {present} can sign; "
                "bring the other keys into the offline folder"
            ) from error
    # Compact, because Roots cross the bus on their way to ECUs.
    return metadata.to_bytes(JSONSerializer(compact=True))
