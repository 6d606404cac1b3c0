"""The key folders of a ceremony: where each role's keys lie, the chain of Roots, and files that only their owner may read.

The offline folder is authoritative. Its Roots are copied to the online folder, from which cloud and launcher read them. On a bench, one
folder serves as both.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names

from otabench.bench.errors import KeysError
from otabench.bench.keys.roots import TIME, key_id
from otabench.proto import private_files
from otabench.proto.sealed_files import SealedFileError, Vault, read_key

NEXT_KEY: Final = ".next.pem"
"""A key that was made for a Root that is not published yet, or was just published. The cloud reads it, too."""
PART: Final = ".part"
"""The suffix of a file that is being written. An interruption may leave such a file."""
_REMEDY: Final = "`otabench keys init` makes whole folders"


class RepositoryName(StrEnum):
    """The repositories, by the name of their folder."""

    DIRECTOR = "director"
    IMAGE = "image_repository"


_TUF_ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ROLES: Final = {RepositoryName.DIRECTOR: (*_TUF_ROLES, TIME), RepositoryName.IMAGE: _TUF_ROLES}
ONLINE_ROLES: Final = {
    RepositoryName.DIRECTOR: ("targets", "snapshot", "timestamp", TIME),
    RepositoryName.IMAGE: ("snapshot", "timestamp"),
}


@dataclass(frozen=True)
class Folders:
    """The folders of ``otabench keys init OFFLINE ONLINE``. On a bench, both are the same folder.

    Attributes:
        offline: None: it is not available, so nothing can be signed.
        online: what the cloud reads.
        vault: of the offline folder, whose private keys a passphrase may seal. None: they are not sealed.
    """

    offline: Path | None
    online: Path
    vault: Vault | None = None

    def of_role(self, repository: RepositoryName, role: str) -> Path | None:
        """Return where the private keys of a role are. None: in the offline folder, which is not available."""
        if role in ONLINE_ROLES[repository]:
            return self.online / repository
        return None if self.offline is None else self.offline / repository

    def write_key(self, path: Path, content: bytes) -> None:
        """Write a private key, sealed if it belongs to a sealed offline folder. Raises KeysError."""
        is_offline = self.offline is not None and self.offline in path.parents
        write_new(path, self.vault.seal(content) if self.vault is not None and is_offline else content, private=True)

    def require_offline(self) -> Path:
        """Return the offline folder.

        Raises:
            KeysError: it is not available, or others may use it.
        """
        if self.offline is None:
            raise KeysError("new Roots are signed with the offline keys; give their folder by --offline DIR")
        for folder in {self.offline, self.online}:
            _require_private_folder(folder)
        return self.offline

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from making the same Root at the same time. Raises KeysError."""
        path = self.require_offline() / ".lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, private_files.FILE_MODE)
        except OSError as error:
            raise KeysError(f"{path}: {error.strerror or error}") from error
        with os.fdopen(descriptor, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def read_roots(folder: Path) -> tuple[Metadata[Root], ...]:
    """Return a repository's chain of Roots, from the first to the newest.

    Raises:
        KeysError: a file cannot be read, or does not follow the one before.
    """
    roots: list[Metadata[Root]] = []
    path = folder / "root.json"
    while not roots or path.exists():
        try:
            root = Metadata[Root].from_bytes(path.read_bytes())
            for delegator in (root.signed, *(each.signed for each in roots[-1:])):
                delegator.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        except OSError as error:
            raise KeysError(f"{path}: {error.strerror or error}; {_REMEDY}") from error
        except (RepositoryError, ValueError, AttributeError) as error:
            raise KeysError(f"{path}: not a Root that follows the one before: {error}; bring back a copy") from error
        roots.append(root)
        path = folder / f"{root.signed.version + 1}.root.json"
    return tuple(roots)


def read_signer(path: Path, vault: Vault | None = None) -> CryptoSigner:
    """Return the signer of a key file, which may be sealed.

    Raises:
        KeysError: it cannot be read or unsealed, is not an Ed25519 key, or others may read it.
    """
    try:
        key = serialization.load_pem_private_key(read_key(path, vault), password=None)
    except (private_files.PrivateFileError, SealedFileError) as error:
        raise KeysError(str(error)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: not an unencrypted private key: {error}; bring back a copy") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: not an Ed25519 key; bring back a copy")
    return CryptoSigner(key)


def key_files(folder: Path, role: str) -> list[Path]:
    """Return a role's existing key files (``ROLE.pem`` or ``ROLE-N.pem``), without those of an unfinished rotation."""
    found = [*folder.glob(f"{role}.pem"), *folder.glob(f"{role}-*.pem")]
    return sorted(path for path in found if not path.name.endswith(NEXT_KEY))


def held_keys(folder: Path, role: str, vault: Vault | None = None) -> tuple[dict[str, Path], list[KeysError]]:
    """Return a role's key files by key id, and the problems of files that cannot be used."""
    held: dict[str, Path] = {}
    problems: list[KeysError] = []
    for path in key_files(folder, role):
        try:
            held[key_id(read_signer(path, vault).public_key, role)] = path
        except KeysError as error:
            problems.append(error)
    return held, problems


def next_key(path: Path) -> Path:
    """Return the path where the replacement of ``path`` lies until its Root is published."""
    return path.with_name(path.name.removesuffix(".pem") + NEXT_KEY)


def write_new(path: Path, content: bytes, *, private: bool) -> None:
    """Write a file as a whole, mode 0600 if it is private. Raises KeysError."""
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    mode = private_files.FILE_MODE if private else 0o644
    try:
        part.unlink(missing_ok=True)
        # Set the mode when the file is created: between writing and chmod, others could open it.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise KeysError(f"{path}: cannot be written: {error.strerror or error}") from error


def _require_private_folder(folder: Path) -> None:
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError as error:
        raise KeysError(f"{folder}: {error.strerror or error}; {_REMEDY}") from error
    if mode & 0o077:
        raise KeysError(f"{folder}: others may use this folder (mode {mode:04o}); `chmod 700 {folder}`")
