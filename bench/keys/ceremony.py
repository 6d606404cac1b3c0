"""Replace keys: make new ones, and publish a Root that lists them instead of the old ones.

    folders = Folders(offline=Path("/media/stick/offline"), online=Path("online"))
    rotate(folders, parse_roles(["director/timestamp"]))
    revoke(folders, "3f2a90c1")

The order of the steps is chosen so that a cut at any point leaves folders that the cloud can read and that the next ceremony completes:

1. the new keys, as ``ROLE.next.pem``;
2. the new Root in the offline folder: from here on the rotation counts;
3. the same Root in the online folder, where a running cloud finds it, together with the key of step 1;
4. the new keys in place of the old ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.metadata import Root  # type: ignore[attr-defined]  # its public name

from otabench.bench.errors import KeysError, UnknownName, WrongUsage
from otabench.bench.firmware.image_repository import OfflineRepository
from otabench.bench.keys.folders import (
    NEXT_KEY,
    ONLINE_ROLES,
    PART,
    ROLES,
    Folders,
    RepositoryName,
    held_keys,
    key_files,
    next_key,
    read_roots,
    read_signer,
    write_new,
)
from otabench.bench.keys.roots import TIME, Replacement, key_id, keyids_of, sign_root, successor

ROOT_LIFETIME: Final = timedelta(days=365)
ALL_ONLINE: Final = "online"
"""In place of a role: all roles whose keys the cloud has."""
_SUPPLIER: Final = f"{RepositoryName.IMAGE}/supplier-"
_MIN_KEYID_PREFIX: Final = 8
_MAX_ROOT_KEYS: Final = 99

FIXED: Final = {
    "image/signing": "the ECUs' bootloaders hold its public half and take no other; ECUs with a new one are provisioned anew",
    "tls/ca": "every certificate and every process that trusts one comes from it; make new key folders by `otabench keys init`",
}
"""Keys that no command replaces, and why."""

Roles = Mapping[RepositoryName, Sequence[str]]


@dataclass(frozen=True)
class NewRoot:
    """What a ceremony has done to one repository."""

    repository: RepositoryName
    version: int
    """Of its new Root."""
    revoked: tuple[str, ...]
    """Key ids."""
    added: tuple[str, ...]
    to_publish: Mapping[str, bytes]
    """Targets of the Image repository that were signed again, and must be brought to the cloud."""


@dataclass(frozen=True)
class NewSupplierKey:
    """A supplier's key that was replaced. It is listed by the Image repository's Targets, so there is no new Root."""

    hardware_id: str
    revoked: tuple[str, ...]
    """Key ids."""
    to_publish: Mapping[str, bytes]
    """Targets that were signed again, and must be brought to the cloud."""


def role_names() -> list[str]:
    """Return every role as it is typed."""
    return [ALL_ONLINE, *(f"{repository}/{role}" for repository, roles in ROLES.items() for role in roles)]


def parse_roles(names: Iterable[str]) -> dict[RepositoryName, list[str]]:
    """Return the roles of each repository.

    Raises:
        UnknownName: there is no such role.
        WrongUsage: its keys cannot be replaced.
    """
    wanted: dict[RepositoryName, list[str]] = {}
    for name in names:
        if name in FIXED or name.startswith("tls/"):
            raise WrongUsage(f"{name}: cannot be rotated: {FIXED.get(name, FIXED['tls/ca'])}")
        if name not in role_names():
            raise UnknownName("role", name, role_names())
        if name == ALL_ONLINE:
            pairs = [(repository, role) for repository, roles in ONLINE_ROLES.items() for role in roles]
        else:
            folder, _, role = name.partition("/")
            pairs = [(RepositoryName(folder), role)]
        for repository, role in pairs:
            roles = wanted.setdefault(repository, [])
            if role not in roles:
                roles.append(role)
    return wanted


def split_suppliers(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names of roles, and the hardware ids of suppliers (``image_repository/supplier-HARDWARE``) apart."""
    given = list(names)
    suppliers = [name.removeprefix(_SUPPLIER) for name in given if name.startswith(_SUPPLIER)]
    return [name for name in given if not name.startswith(_SUPPLIER)], suppliers


def rotate_suppliers(folders: Folders, hardware_ids: Iterable[str]) -> list[NewSupplierKey]:
    """Replace the keys of suppliers.

    Raises:
        UnknownName: there is no such supplier. Nothing was replaced then.
        KeysError: as ``rotate``.
        FirmwareError: the Image repository's keys cannot be used.
    """
    wanted = list(dict.fromkeys(hardware_ids))
    with folders.locked():
        repository = OfflineRepository(folders.require_offline() / RepositoryName.IMAGE, folders.vault)
        known = repository.suppliers()
        for hardware_id in wanted:
            if hardware_id not in known:
                raise UnknownName("supplier", _SUPPLIER + hardware_id, [_SUPPLIER + each for each in known])
        return [NewSupplierKey(each, known[each], repository.replace_supplier_key(each)) for each in wanted]


def rotate(folders: Folders, roles: Roles, *, now: datetime | None = None) -> list[NewRoot]:
    """Replace all keys of these roles. Each repository receives one new Root, which also begins a new life.

    Raises:
        KeysError: a key or Root cannot be read or written, or the Root keys that are there do not reach a threshold.
    """
    with folders.locked():
        made = []
        for repository, names in roles.items():
            newest = _prepare(folders, repository)
            listed = {role: keyids_of(newest, role) for role in names}
            made.append(_replace(folders, repository, newest, listed, now=now))
        return made


def revoke(folders: Folders, keyid: str, *, now: datetime | None = None) -> list[NewRoot]:
    """Replace one key, wherever it is listed. Of a role with several keys the others stay.

    Args:
        folders: the key folders.
        keyid: or its beginning, at least eight characters.
        now: when the new Root's life begins; by default now.

    Raises:
        WrongUsage: no Root lists such a key, or several do.
        KeysError: as ``rotate``.
    """
    with folders.locked():
        newest = {repository: _prepare(folders, repository) for repository in RepositoryName}
        found = {each for root in newest.values() for each in _every_keyid(root) if each.startswith(keyid)}
        if len(keyid) < _MIN_KEYID_PREFIX or len(found) != 1:
            raise WrongUsage(
                f"{keyid}: {len(found)} keys of the newest Roots begin so; give at least {_MIN_KEYID_PREFIX} characters of a key id "
                "that `otabench keys status` shows"
            )
        made = []
        for repository, root in newest.items():
            listed = {role: [*(found & set(keyids_of(root, role)))] for role in ROLES[repository]}
            listed = {role: keyids for role, keyids in listed.items() if keyids}
            if listed:
                made.append(_replace(folders, repository, root, listed, now=now))
        return made


def _prepare(folders: Folders, repository: RepositoryName) -> Root:
    """Complete a ceremony that was cut off, and return the newest Root."""
    source = folders.require_offline() / repository
    newest = read_roots(source)[-1].signed
    _publish(folders, repository, newest)
    return newest


def _publish(folders: Folders, repository: RepositoryName, newest: Root) -> None:
    """Do what remains of steps 3 and 4."""
    source, target = folders.require_offline() / repository, folders.online / repository
    for name in ("root.json", *(f"{version}.root.json" for version in range(2, newest.version + 1))):
        content = (source / name).read_bytes()
        if not (target / name).exists():
            write_new(target / name, content, private=False)
        elif (target / name).read_bytes() != content:
            raise KeysError(f"{target / name} is not the Root of {source}; use the folders of one fleet together")
    listed = _every_keyid(newest)
    for folder in {source, target}:
        for path in folder.glob(f"*{NEXT_KEY}"):
            if key_id(read_signer(path, folders.vault).public_key, path.name.removesuffix(NEXT_KEY)) in listed:
                path.replace(folder / (path.name.removesuffix(NEXT_KEY) + ".pem"))
            else:
                # Its Root was never made.
                path.unlink()
        for path in folder.glob(f".*{PART}"):
            path.unlink()


def _replace(
    folders: Folders,
    repository: RepositoryName,
    newest: Root,
    listed: Mapping[str, Sequence[str]],
    *,
    now: datetime | None,
) -> NewRoot:
    """Replace these keys (ids by role) by as many new ones."""
    offline = folders.require_offline() / repository
    root_signers = [read_signer(path, folders.vault) for path in key_files(offline, Root.type)]
    replaced: dict[str, Replacement] = {}
    fresh: dict[Path, CryptoSigner] = {}
    for role, keyids in listed.items():
        folder = folders.of_role(repository, role)
        assert folder is not None  # ``require_offline`` would have refused
        held, _ = held_keys(folder, role, folders.vault)
        in_use = {held[keyid] for keyid in keyids_of(newest, role) if keyid in held}
        paths = _files_to_replace(folder, role, keyids, held=held, in_use=in_use)
        made = {path: CryptoSigner.generate_ed25519() for path in paths}
        replaced[role] = Replacement(keyids, [signer.public_key for signer in made.values()])
        fresh |= made
        if role == Root.type:
            root_signers += made.values()
    expires = (now or datetime.now(UTC)).replace(microsecond=0) + ROOT_LIFETIME
    following = successor(newest, replaced, expires=expires)
    content = sign_root(following, before=newest, signers=root_signers)
    for path, signer in fresh.items():
        folders.write_key(next_key(path), signer.private_bytes)
    write_new(offline / f"{following.version}.root.json", content, private=False)
    _publish(folders, repository, following)
    is_top = repository is RepositoryName.IMAGE and "targets" in listed
    return NewRoot(
        repository=repository,
        version=following.version,
        revoked=tuple(keyid for keyids in listed.values() for keyid in keyids),
        added=tuple(signer.public_key.keyid for signer in fresh.values()),
        # What the old key has signed no longer counts.
        to_publish=OfflineRepository(offline, folders.vault).sign_again() if is_top else {},
    )


def _files_to_replace(
    folder: Path, role: str, keyids: Sequence[str], *, held: Mapping[str, Path], in_use: Collection[Path]
) -> list[Path]:
    """Return a file for each of the keys: the one that holds it, or the name of one that is lost. A role without a key gets one.

    Args:
        folder: of the role's keys.
        role: whose keys are replaced.
        keyids: of those keys.
        held: the role's files by key id. A damaged file is not among them, and counts as a lost one.
        in_use: files with keys that the newest Root lists.
    """
    names = (
        [f"{role}.pem"] if role != Root.type else [f"{role}-{number}.pem" for number in range(1, 1 + _MAX_ROOT_KEYS)]
    )
    free = iter([folder / name for name in names if folder / name not in in_use])
    return [held.get(keyid) or next(free) for keyid in keyids or [""]]


def _every_keyid(root: Root) -> set[str]:
    return {*root.keys, *keyids_of(root, TIME)}
