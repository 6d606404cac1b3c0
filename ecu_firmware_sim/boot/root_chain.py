"""The Director's Root as an ECU keeps it, and the way from one Root to the next. Pure.

An ECU is delivered with a pinned Root. Newer ones reach it through the metadata window. It follows them one by one (Uptane 2.1.0, 5.4.4.3):
each is exactly one version higher, and signed by the thresholds of the one before and of itself. Of a Root it keeps what it needs for the
next one, for Targets and for the time: their keys and thresholds.

A threshold counts keys, not key ids: a key that is listed under two ids signs once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from securesystemslib.exceptions import StorageError, UnverifiedSignatureError, VerificationError
from securesystemslib.signer._key import Key, SSlibKey
from securesystemslib.signer._signature import Signature
from tuf.api._payload import Root, Targets
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError

from otabench.ecu_firmware_sim.flash.nvm import StoredRole, StoredRoot
from otabench.proto.normal_form import NotNormalized, require_nfc
from otabench.proto.uptane import TimeKeys, time_keys_of

MAX_STORED_BYTES: Final = 2048
"""Of a kept Root: five of eight Root keys and three of four Targets keys fit, and trouble codes still fit beside it."""


class RootRefused(Exception):
    """A Root that does not follow. The message states why."""


@dataclass(frozen=True)
class RoleKeys:
    """The keys of one role, by key id, and how many of them must sign."""

    keys: Mapping[str, Key]
    threshold: int

    def have_signed(self, payload: bytes, signatures: Mapping[str, Signature]) -> bool:
        """Return whether enough different keys have signed."""
        good: set[str] = set()
        for keyid, key in self.keys.items():
            try:
                if keyid in signatures:
                    key.verify_signature(signatures[keyid], payload)
                    # By the key itself, not its id: one key under two ids must not count twice.
                    good.add(str(key.keyval["public"]).strip().lower())
            except (UnverifiedSignatureError, VerificationError):
                continue
        return len(good) >= self.threshold


@dataclass(frozen=True)
class TrustedRoot:
    """The parts of a trusted Root that an ECU keeps."""

    pin: str
    """SHA-256 of the pinned Root from which the way to this one began."""
    version: int
    expires_s: int
    root: RoleKeys
    targets: RoleKeys
    time: TimeKeys | None = None

    @classmethod
    def pinned(cls, data: bytes) -> TrustedRoot:
        """Return a Root that is trusted because it was delivered with the ECU.

        Raises:
            ValueError: the bytes are not TUF Root metadata.
        """
        try:
            signed = Metadata[Root].from_bytes(data).signed
        except (DeserializationError, StorageError) as error:
            raise ValueError(f"not TUF Root metadata: {error}") from error
        if not isinstance(signed, Root):
            raise ValueError("not TUF Root metadata")
        return cls._of(hashlib.sha256(data).hexdigest(), signed)

    @classmethod
    def _of(cls, pin: str, root: Root) -> TrustedRoot:
        """Return a Root's facts. Raises ValueError: its time keys are malformed."""
        return cls(
            pin,
            root.version,
            int(root.expires.replace(tzinfo=UTC).timestamp()),
            _role(root, Root.type),
            _role(root, Targets.type),
            time_keys_of(root.unrecognized_fields),
        )

    def restored(self, stored: StoredRoot | None) -> TrustedRoot:
        """Return the kept Root, if the way to it began at this pinned one; otherwise this one."""
        # An ECU that was provisioned again has another pinned Root. What it kept from the old one is void.
        if stored is None or stored.pin != self.pin:
            return self
        time = stored.time
        return TrustedRoot(
            stored.pin,
            stored.version,
            stored.expires_s,
            _restored(stored.root),
            _restored(stored.targets),
            None if time is None else TimeKeys(keys=tuple(time.keys), threshold=time.threshold),
        )

    def stored(self) -> StoredRoot:
        """Return what is kept in NVM."""
        time = self.time
        return StoredRoot(
            pin=self.pin,
            version=self.version,
            expires_s=self.expires_s,
            root=_stored(self.root),
            targets=_stored(self.targets),
            # The id of a time key is the key.
            time=None if time is None else StoredRole(keys=dict.fromkeys(time.keys, ""), threshold=time.threshold),
        )

    def follow(self, roots: Iterable[bytes]) -> TrustedRoot:
        """Return the newest Root to which a chain leads. Roots of this version or older ones are passed over.

        Raises:
            RootRefused: one does not follow the one before.
        """
        trusted = self
        for data in roots:
            metadata = _parse(data)
            if metadata.signed.version > trusted.version:
                trusted = trusted._next(metadata)
        return trusted

    def _next(self, metadata: Metadata[Root]) -> TrustedRoot:
        root = metadata.signed
        # No version may be skipped (Uptane 2.1.0, 5.4.4.3).
        if root.version != self.version + 1:
            raise RootRefused(f"Root {root.version} does not follow Root {self.version}")
        try:
            following = TrustedRoot._of(self.pin, root)
        except ValueError as error:
            raise RootRefused(f"Root {root.version} has time keys that are not well-formed") from error
        for which, keys in (("old", self.root), ("new", following.root)):
            if not keys.have_signed(metadata.signed_bytes, metadata.signatures):
                raise RootRefused(f"Root {root.version} is not signed by enough of the {which} Root keys")
        # After the signatures, so that only holders of the Root keys learn the limits of this ECU.
        every_key = [*following.root.keys.values(), *following.targets.keys.values()]
        if any(key.keytype != "ed25519" for key in every_key):
            raise RootRefused(f"Root {root.version} lists a key that is not Ed25519")
        if len(following.stored().model_dump_json()) > MAX_STORED_BYTES:
            raise RootRefused(f"Root {root.version} lists more keys than this ECU can keep")
        return following


def _parse(data: bytes) -> Metadata[Root]:
    try:
        require_nfc(data)
        metadata = Metadata[Root].from_bytes(data)
    except NotNormalized as error:
        raise RootRefused(f"in a Root {error}") from error
    # RecursionError: JSON that is nested deeply enough.
    except (DeserializationError, RecursionError) as error:
        raise RootRefused("the metadata window holds something that is no TUF metadata") from error
    if not isinstance(metadata.signed, Root):
        raise RootRefused("the metadata window holds something else in place of a Root")
    return metadata


def _role(root: Root, name: str) -> RoleKeys:
    role = root.roles[name]
    return RoleKeys({keyid: root.keys[keyid] for keyid in role.keyids if keyid in root.keys}, role.threshold)


def _stored(role: RoleKeys) -> StoredRole:
    return StoredRole(
        keys={keyid: str(key.keyval["public"]) for keyid, key in role.keys.items()}, threshold=role.threshold
    )


def _restored(role: StoredRole) -> RoleKeys:
    return RoleKeys(
        {keyid: SSlibKey(keyid, "ed25519", "ed25519", {"public": public}) for keyid, public in role.keys.items()},
        role.threshold,
    )
