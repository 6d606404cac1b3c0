"""Sign metadata of both repositories: with the real keys of a key folder where the attacker has them, with other keys elsewhere.

    forge = Forge(keys_dir, vin=vin)
    files = forge.director([order], version=7, real=DIRECTOR_ONLINE)

Everything may be false: the caller chooses every fact. The same class signs what the honest cloud would sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
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

from otabench.bench.attacks.parties import ALL_ROLES, Key
from otabench.bench.errors import BenchError
from otabench.proto import time_attestation

Files = dict[str, bytes]
"""Metadata by file name."""
DAY: Final = timedelta(days=1)
_ROLE: Final = {
    Key.DIRECTOR_TARGETS: "targets",
    Key.DIRECTOR_SNAPSHOT: "snapshot",
    Key.DIRECTOR_TIMESTAMP: "timestamp",
}
_ROOT_PEM: Final = ("director/root-1.pem", "director/root-2.pem")
_PEM: Final = {
    Key.DIRECTOR_TARGETS: "director/targets.pem",
    Key.DIRECTOR_SNAPSHOT: "director/snapshot.pem",
    Key.DIRECTOR_TIMESTAMP: "director/timestamp.pem",
    Key.IMAGE_TARGETS: "image_repository/targets.pem",
    Key.IMAGE_SNAPSHOT: "image_repository/snapshot.pem",
    Key.IMAGE_TIMESTAMP: "image_repository/timestamp.pem",
}


@dataclass(frozen=True)
class Order:
    """One ECU's image, as the Director states it, true or not."""

    ecu_serial: str
    hardware_id: str
    version: str
    content: bytes
    release_counter: int
    path: str = ""
    """Empty: as the cloud names it."""
    custom: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the target, or others instead."""

    @property
    def target(self) -> TargetFile:
        """The entry in Targets."""
        custom = {
            "ecu_serial": self.ecu_serial,
            "hardware_id": self.hardware_id,
            "version": self.version,
            "release_counter": self.release_counter,
        }
        path = self.path or image_path(self.content, hardware_id=self.hardware_id, version=self.version)
        target = TargetFile.from_data(path, self.content, ["sha256"])
        target.unrecognized_fields["custom"] = custom | dict(self.custom)
        return target


def image_path(content: bytes, *, hardware_id: str, version: str) -> str:
    """Return the path of an image as both repositories name it."""
    return f"images/{hashlib.sha256(content).hexdigest()}/{hardware_id}-{version}.bin"


class Forge:
    """The signers of both repositories.

    Args:
        keys_dir: a key folder of `otabench keys init`.
        vin: the vehicle that manifests are for.
    """

    def __init__(self, keys_dir: Path, *, vin: str) -> None:
        self._keys_dir = keys_dir
        self._vin = vin
        self._others: dict[Key, CryptoSigner] = {}
        self._suppliers: dict[str, CryptoSigner] = {}

    def director(
        self,
        orders: Sequence[Order],
        *,
        version: int,
        job_id: str,
        real: Collection[Key] = ALL_ROLES,
        lifetime: timedelta = DAY,
        custom: Mapping[str, Any] | None = None,
        delegates: bool = False,
    ) -> Files:
        """Return a manifest: Targets, Snapshot and Timestamp of the Director.

        Args:
            orders: what the ECUs are to run.
            version: of all three roles.
            job_id: the job that it is for.
            real: the keys that are the real ones.
            lifetime: from now on; negative: expired.
            custom: fields of the vehicle's part instead of the true ones.
            delegates: whether the Targets delegate to somebody else.
        """
        vehicle = {"vin": self._vin, "job_id": job_id, "campaign_id": "campaign-1", **(custom or {})}
        targets = Targets(
            version=version,
            expires=_later(lifetime),
            targets={each.target.path: each.target for each in orders},
            unrecognized_fields={"custom": vehicle},
        )
        if delegates:
            friend = self._signer(Key.SUPPLIER, real=())
            role = DelegatedRole("friend", [friend.public_key.keyid], 1, False, ["*"])
            targets.delegations = Delegations({friend.public_key.keyid: friend.public_key}, {"friend": role})
        signed = {"targets.json": _sign(targets, self._signer(Key.DIRECTOR_TARGETS, real=real))}
        return signed | self._newest(
            signed, (Key.DIRECTOR_SNAPSHOT, Key.DIRECTOR_TIMESTAMP), version=version, real=real, lifetime=lifetime
        )

    def images(
        self,
        listed: Sequence[Order],
        *,
        version: int,
        real: Collection[Key] = ALL_ROLES,
        lifetime: timedelta = DAY,
        own_supplier: bool = False,
        kept: Mapping[str, bytes] | None = None,
    ) -> Files:
        """Return the Image repository's metadata with these images. There is a supplier for each hardware id.

        Args:
            listed: the images. Their ECUs do not matter here.
            version: of all roles.
            real: the keys that are the real ones.
            lifetime: from now on; negative: expired.
            own_supplier: whether the top-level Targets delegate to a key of the attacker.
            kept: Targets of other suppliers, by name. A Snapshot must list whatever the one before did.
        """
        top = Targets(version=version, expires=_later(lifetime))
        delegations = Delegations({}, {})
        files: Files = dict(kept or {})
        for hardware_id in sorted({each.hardware_id for each in listed}):
            name = f"supplier-{hardware_id}"
            stranger = self._signer(Key.SUPPLIER, real=())
            chosen = stranger if own_supplier else self._supplier(hardware_id)
            signer = chosen if Key.SUPPLIER in real else stranger
            delegations.keys[chosen.public_key.keyid] = chosen.public_key
            assert delegations.roles is not None
            delegations.roles[name] = DelegatedRole(
                name, [chosen.public_key.keyid], 1, True, [f"images/*/{hardware_id}-*"]
            )
            targets = {
                each.target.path: _without_ecu(each.target) for each in listed if each.hardware_id == hardware_id
            }
            files[f"{name}.json"] = _sign(Targets(version=version, expires=_later(lifetime), targets=targets), signer)
        top.delegations = delegations
        files["targets.json"] = _sign(top, self._signer(Key.IMAGE_TARGETS, real=real))
        return files | self._newest(
            files, (Key.IMAGE_SNAPSHOT, Key.IMAGE_TIMESTAMP), version=version, real=real, lifetime=lifetime
        )

    def next_director_root(self, root: bytes, *, replace: Collection[Key], real: Collection[Key]) -> bytes:
        """Return the Root after ``root``, in which other keys have taken the place of these.

        They are the keys that this forge signs with where a key is not the real one, so ``real`` without them is the honest cloud of
        later.
        """
        signed = Metadata[Root].from_bytes(root).signed
        signed.version += 1
        for key in replace:
            role = _ROLE[key]
            for keyid in list(signed.roles[role].keyids):
                signed.revoke_key(keyid, role)
            signed.add_key(self._signer(key, real=()).public_key, role)
        stolen = 2 if Key.DIRECTOR_ROOT in real else 1 if Key.ONE_ROOT_KEY in real else 0
        signers = [_load(self._keys_dir / name) for name in _ROOT_PEM[:stolen]]
        return _sign(signed, *signers, *[self._signer(Key.DIRECTOR_ROOT, real=())][: 2 - stolen])

    def attest_time(self, nonce: bytes, *, at: datetime, real: bool = True) -> bytes:
        """Return a time attestation for a nonce, signed by the real time key or by another one."""
        path = self._keys_dir / "director" / "time.pem"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None) if real else None
        except (OSError, ValueError, TypeError) as error:
            raise BenchError(f"{path}: this attack needs the time key: {error}") from error
        signer = key if isinstance(key, Ed25519PrivateKey) else Ed25519PrivateKey.generate()
        return time_attestation.attest(time_s=int(at.timestamp()), nonce=nonce, keys=[signer])

    def _newest(
        self, targets: Files, keys: tuple[Key, Key], *, version: int, real: Collection[Key], lifetime: timedelta
    ) -> Files:
        listed = {name: _meta(_version_of(content), content) for name, content in targets.items()}
        expires = _later(lifetime)
        snapshot = _sign(Snapshot(version=version, expires=expires, meta=listed), self._signer(keys[0], real=real))
        timestamp = Timestamp(version=version, expires=expires, snapshot_meta=_meta(version, snapshot))
        return {"snapshot.json": snapshot, "timestamp.json": _sign(timestamp, self._signer(keys[1], real=real))}

    def _signer(self, key: Key, *, real: Collection[Key]) -> CryptoSigner:
        if key in real:
            return _load(self._keys_dir / _PEM[key])
        if key not in self._others:
            self._others[key] = CryptoSigner.generate_ed25519()
        return self._others[key]

    def _supplier(self, hardware_id: str) -> CryptoSigner:
        path = self._keys_dir / "image_repository" / "suppliers" / f"{hardware_id}.pem"
        if path.exists():
            return _load(path)
        # Nothing was published yet. The first publication makes the key.
        return self._suppliers.setdefault(hardware_id, CryptoSigner.generate_ed25519())


def _without_ecu(target: TargetFile) -> TargetFile:
    custom = {name: value for name, value in target.unrecognized_fields["custom"].items() if name != "ecu_serial"}
    return TargetFile(target.length, target.hashes, target.path, {"custom": custom})


def _later(lifetime: timedelta) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + lifetime


def _version_of(content: bytes) -> int:
    return int(Metadata.from_bytes(content).signed.version)


def _meta(version: int, content: bytes) -> MetaFile:
    return MetaFile(version, len(content), {"sha256": hashlib.sha256(content).hexdigest()})


def _sign(signed: Any, *signers: CryptoSigner) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _load(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(serialization.load_pem_private_key(path.read_bytes(), password=None))
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"{path}: this attack needs the key to be stolen: {error}") from error
