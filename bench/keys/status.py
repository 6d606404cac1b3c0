"""What the key folders hold: who signs what, with which threshold, where the keys are, and what ends soon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from otabench.bench.errors import KeysError
from otabench.bench.finding import Finding, fail, warn
from otabench.bench.firmware.image_repository import OfflineRepository
from otabench.bench.keys.folders import (
    ONLINE_ROLES,
    ROLES,
    Folders,
    RepositoryName,
    held_keys,
    read_roots,
    read_signer,
)
from otabench.bench.keys.roots import keyids_of, threshold_of

WARN_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True)
class KeyStatus:
    """One key of a role. ``file`` is empty if its private half is not at hand."""

    keyid: str
    file: str


@dataclass(frozen=True)
class RoleStatus:
    """One role of a repository, by its newest Root."""

    role: str
    """As it is typed: ``director/timestamp``."""
    kept: str
    """``offline`` or ``online``."""
    threshold: int
    keys: tuple[KeyStatus, ...]

    @property
    def at_hand(self) -> int:
        """The number of private keys."""
        return sum(bool(key.file) for key in self.keys)


@dataclass(frozen=True)
class Expiry:
    """Something that ends: a Root, Targets that were signed offline, a certificate."""

    what: str
    expires: datetime
    remedy: str


@dataclass(frozen=True)
class Status:
    """Everything about a pair of key folders."""

    roots: dict[str, int]
    """The newest Root's version, by repository."""
    roles: tuple[RoleStatus, ...]
    expiries: tuple[Expiry, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the status as ``--json`` prints it."""
        return {
            "roots": self.roots,
            "roles": [{**asdict(role), "at_hand": role.at_hand} for role in self.roles],
            "expiries": [{"what": each.what, "expires": each.expires.isoformat()} for each in self.expiries],
            "findings": [finding.as_json() for finding in self.findings],
        }


def read_status(folders: Folders, *, now: datetime) -> Status:
    """Return the status of key folders.

    Raises:
        KeysError: a Root cannot be read.
    """
    roots: dict[str, int] = {}
    roles: list[RoleStatus] = []
    expiries: list[Expiry] = []
    findings: list[Finding] = []
    for repository in RepositoryName:
        newest = read_roots((folders.offline or folders.online) / repository)[-1].signed
        roots[repository] = newest.version
        renewal = f"`otabench keys rotate {repository}/root`"
        expires = newest.expires.replace(tzinfo=UTC)
        expiries.append(Expiry(f"{repository}/{newest.version}.root.json", expires, renewal))
        for role in ROLES[repository]:
            keyids = keyids_of(newest, role)
            if not keyids:  # a Director that does not attest the time
                continue
            folder = folders.of_role(repository, role)
            held, problems = ({}, []) if folder is None else held_keys(folder, role, folders.vault)
            findings += [fail(f"{repository}/{role}", str(problem)) for problem in problems]
            keys = tuple(KeyStatus(keyid, str(held.get(keyid, ""))) for keyid in keyids)
            kept = "online" if role in ONLINE_ROLES[repository] else "offline"
            roles.append(RoleStatus(f"{repository}/{role}", kept, threshold_of(newest, role), keys))
            if folder is not None:
                findings += _missing(roles[-1])
    if folders.offline is not None:
        for supplier in _suppliers(folders.offline, folders):
            roles.append(supplier)
            findings += _missing(supplier)
    expiries += _signed_offline(folders)
    expiries += _certificates(folders.online / "tls")
    findings += [finding for each in expiries if (finding := _ends_soon(each, now=now))]
    return Status(roots, tuple(roles), tuple(sorted(expiries, key=lambda each: each.expires)), tuple(findings))


def _suppliers(offline: Path, folders: Folders) -> Iterator[RoleStatus]:
    """Yield the suppliers, whose keys the Image repository's Targets list, and firmware signing, whose key no metadata list."""
    repository = OfflineRepository(offline / RepositoryName.IMAGE, folders.vault)
    for hardware_id, keyids in repository.suppliers().items():
        path = repository.supplier_key(hardware_id)
        held = read_signer(path, folders.vault).public_key.keyid if path.exists() else ""
        keys = tuple(KeyStatus(keyid, str(path) if keyid == held else "") for keyid in keyids)
        yield RoleStatus(f"{RepositoryName.IMAGE}/supplier-{hardware_id}", "offline", 1, keys)
    path = offline / "image" / "signing.pem"
    if path.exists():
        key = KeyStatus(read_signer(path, folders.vault).public_key.keyid, str(path))
        yield RoleStatus("image/signing", "offline", 1, (key,))


def _missing(role: RoleStatus) -> list[Finding]:
    lost = [key.keyid[:8] for key in role.keys if not key.file]
    if not lost:
        return []
    problem = (
        f"key {', '.join(lost)} is not at hand; {role.at_hand} of {len(role.keys)} are, {role.threshold} must sign"
    )
    if role.at_hand < role.threshold:
        return [fail(role.role, problem, "bring back a copy of the key")]
    return [warn(role.role, problem, f"if it is lost or stolen: `otabench keys revoke {lost[0]}`")]


def _signed_offline(folders: Folders) -> Iterator[Expiry]:
    """Yield what the offline keys of the Image repository have signed last."""
    folder = (folders.offline or folders.online) / RepositoryName.IMAGE / "metadata"
    for path in sorted(folder.glob("*.json")):
        try:
            expires = datetime.fromisoformat(json.loads(path.read_bytes())["signed"]["expires"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise KeysError(f"{path}: not metadata: {error}; bring back a copy") from error
        yield Expiry(f"{RepositoryName.IMAGE}/metadata/{path.name}", expires, "`otabench firmware publish`")


def _certificates(folder: Path) -> Iterator[Expiry]:
    for path in sorted(folder.glob("*.pem")):
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeysError(f"{path}: not a certificate: {error}; `otabench keys init` makes whole folders") from error
        yield Expiry(f"tls/{path.name}", certificate.not_valid_after_utc, "new key folders (`otabench keys init`)")


def _ends_soon(each: Expiry, *, now: datetime) -> Finding | None:
    left = each.expires - now
    if left > WARN_BEFORE:
        return None
    if left <= timedelta():
        return fail(each.what, f"has expired on {each.expires:%Y-%m-%d}", each.remedy)
    return warn(each.what, f"expires on {each.expires:%Y-%m-%d}, in {left.days} days", each.remedy)
