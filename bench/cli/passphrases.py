"""The passphrase of an offline key folder: from a file, a descriptor or the terminal."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from otabench.bench.errors import KeysError
from otabench.proto import private_files
from otabench.proto.sealed_files import (
    SealedFileError,
    Vault,
    is_sealed_folder,
    read_key,
    read_passphrase,
)

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="The offline keys' passphrase is its first line; /dev/fd/N for a descriptor. Default: asked on the terminal.",
    ),
]
_IN_MEMORY: Final = Path("/dev/shm")
_SIGNING_KEYS: Final = ("image/signing.pem", "image/signing.pub.pem")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder of mode 0700 to the block, in memory where the machine has such a place: a disk may keep what was deleted."""
    where = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="otabench-keys-", dir=where) as folder:
        yield Path(folder)


def chosen(given: Path | None, folder: Path) -> Path:
    """Return a file with a new passphrase: a copy of the given one's first line, or what is typed twice on the terminal.

    Raises:
        KeysError: there is neither a file nor a terminal, or the file cannot be used.
    """
    # Copied in any case: a descriptor belongs to this process and can be read once.
    typed = _read(given) if given is not None else _ask("Passphrase for the offline keys", is_new=True)
    copy = folder / "passphrase"
    private_files.write(copy, f"{typed}\n")
    return copy


def open_vault(folder: Path, given: Path | None) -> Vault | None:
    """Return the vault of an offline folder. None: its keys are not sealed.

    Raises:
        KeysError: the passphrase is wrong, or there is neither a file nor a terminal.
    """
    if not is_sealed_folder(folder):
        return None
    passphrase = _read(given) if given is not None else _ask(f"Passphrase of {folder}", is_new=False)
    try:
        return Vault.open(folder, passphrase)
    except SealedFileError as error:
        raise KeysError(str(error)) from error


@contextmanager
def unsealed_signing_key(keys_dir: Path, given: Path | None) -> Iterator[Path]:
    """Give a key folder with a readable firmware signing key to the block: ``keys_dir`` itself, or a copy in memory if it is sealed.

    imgtool reads keys from files only.

    Raises:
        KeysError: as ``open_vault``.
    """
    vault = open_vault(keys_dir, given)
    if vault is None:
        yield keys_dir
        return
    with temporary_folder() as folder:
        (folder / "image").mkdir()
        try:
            for name in _SIGNING_KEYS:
                path = keys_dir / name
                content = read_key(path, vault) if name.endswith("signing.pem") else path.read_bytes()
                private_files.write(folder / name, content.decode())
        except (SealedFileError, private_files.PrivateFileError) as error:
            raise KeysError(str(error)) from error
        except OSError as error:
            raise KeysError(f"{error.filename}: {error.strerror}; bring back a copy") from error
        yield folder


def _read(path: Path) -> str:
    try:
        return read_passphrase(path)
    except SealedFileError as error:
        raise KeysError(str(error)) from error


def _ask(text: str, *, is_new: bool) -> str:
    if not sys.stdin.isatty():
        alternative = ", or make them without by --no-passphrase" if is_new else ""
        raise KeysError(
            f"there is no terminal to ask for the passphrase; give it by --passphrase-file FILE{alternative}"
        )
    # On stderr: what the command prints may be read by a program.
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=is_new, err=True))
