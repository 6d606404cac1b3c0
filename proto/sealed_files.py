"""Private keys that a passphrase protects: files that do not help a thief of the folder.

    vault = Vault.create(folder, passphrase)      # a new folder; writes ``passphrase.json``
    path.write_bytes(vault.seal(pem))

    vault = Vault.open(folder, passphrase)        # later; raises WrongPassphrase
    pem = vault.unseal(path.read_bytes(), path)

The passphrase becomes a key by argon2id, whose salt and cost are in ``passphrase.json`` of the folder, and that key seals each file by
itself (XSalsa20-Poly1305, PyNaCl's ``SecretBox``). So a file can be added or replaced without touching the others.
A file that is not sealed is passed through: older folders have only such files.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl import utils
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from otabench.proto import private_files

PASSPHRASE_FILE: Final = "passphrase.json"
_HEAD: Final = b"OTABENCH-SEALED-KEY 1\n"
_CHECK: Final = b"otabench"
"""Sealed in ``passphrase.json``, so that a wrong passphrase is noticed before any key is needed."""
_MAX_MEMORY_BYTES: Final = 1024**3


class SealedFileError(Exception):
    """A sealed file or its passphrase. The message is one line."""


class WrongPassphrase(SealedFileError):
    """It is not the passphrase of this folder."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    opslimit: int = Field(ge=1, le=16)
    memlimit: int = Field(ge=8192, le=_MAX_MEMORY_BYTES)
    check: str


@dataclass(frozen=True)
class Cost:
    """What one guess at the passphrase costs: passes, and bytes of memory. By default libsodium's moderate one, 0.7 s and 256 MiB."""

    opslimit: int = argon2id.OPSLIMIT_MODERATE
    memlimit: int = argon2id.MEMLIMIT_MODERATE


class Vault:
    """The key of a folder's sealed files."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    @classmethod
    def create(cls, folder: Path, passphrase: str, *, cost: Cost | None = None) -> Vault:
        """Choose a salt for a folder, and return its vault.

        Raises:
            SealedFileError: the passphrase is empty.
            OSError: the folder cannot be written.
        """
        if not passphrase:
            raise SealedFileError("the passphrase is empty")
        chosen, salt = cost or Cost(), utils.random(argon2id.SALTBYTES)
        vault = cls(_box(passphrase, salt, chosen.opslimit, chosen.memlimit))
        stored = _Stored(
            salt=salt.hex(),
            opslimit=chosen.opslimit,
            memlimit=chosen.memlimit,
            check=vault.seal(_CHECK).decode("ascii"),
        )
        (folder / PASSPHRASE_FILE).write_text(stored.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return vault

    @classmethod
    def open(cls, folder: Path, passphrase: str) -> Vault:
        """Return the vault of a folder.

        Raises:
            WrongPassphrase: it is another one.
            SealedFileError: ``passphrase.json`` is missing or malformed.
        """
        path = folder / PASSPHRASE_FILE
        try:
            stored = _Stored.model_validate(json.loads(path.read_bytes()))
        except OSError as error:
            raise SealedFileError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (ValidationError, ValueError) as error:
            raise SealedFileError(f"{path}: is damaged; bring back a copy") from error
        vault = cls(_box(passphrase, bytes.fromhex(stored.salt), stored.opslimit, stored.memlimit))
        try:
            vault.unseal(stored.check.encode(), path)
        except SealedFileError as error:
            raise WrongPassphrase(f"this is not the passphrase of {folder}") from error
        return vault

    def seal(self, content: bytes) -> bytes:
        """Return the contents, sealed, as text lines."""
        return _HEAD + base64.encodebytes(self._box.encrypt(content))

    def unseal(self, content: bytes, path: Path) -> bytes:
        """Return what was sealed; contents that are not sealed as they are.

        Raises:
            SealedFileError: the file is damaged, or was sealed in another folder.
        """
        if not content.startswith(_HEAD):
            return content
        try:
            return bytes(self._box.decrypt(base64.b64decode(content[len(_HEAD) :])))
        except (CryptoError, ValueError) as error:
            raise SealedFileError(
                f"{path}: is damaged, or was sealed with another passphrase; bring back a copy"
            ) from error


def read_passphrase(path: Path) -> str:
    """Return the first line of a file, or of an open descriptor (``/dev/fd/N``).

    Raises:
        SealedFileError: it cannot be read, or the line is empty.
    """
    try:
        with path.open(encoding="utf-8") as file:
            passphrase = file.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise SealedFileError(f"{path}: the passphrase cannot be read: {reason}") from error
    if not passphrase:
        raise SealedFileError(f"{path}: its first line is empty, and the passphrase is in it")
    return passphrase


def is_sealed_folder(folder: Path) -> bool:
    """Return whether the private keys of a folder are sealed."""
    try:
        return (folder / PASSPHRASE_FILE).exists()
    except (OSError, ValueError):  # a name that no folder can have
        return False


def read_key(path: Path, vault: Vault | None) -> bytes:
    """Return the contents of a private key file, which may be sealed.

    Raises:
        SealedFileError: it is sealed, and there is no vault; or it is damaged.
        PrivateFileError: it cannot be read, or others may read it.
    """
    content = private_files.read(path).encode()
    if vault is not None:
        return vault.unseal(content, path)
    if content.startswith(_HEAD):
        raise SealedFileError(f"{path}: is sealed with a passphrase, which this command was not given")
    return content


def _box(passphrase: str, salt: bytes, opslimit: int, memlimit: int) -> SecretBox:
    return SecretBox(argon2id.kdf(SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=opslimit, memlimit=memlimit))
