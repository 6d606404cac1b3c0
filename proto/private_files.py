"""Files that only their owner may read: secrets, keys and state.

A secret with a wider mode is refused, not mended: whoever could read it may have done so already.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
_WRITABLE_BY_OTHERS: Final = 0o022


class PrivateFileError(Exception):
    """A private file cannot be read or written, or others may read it. The message names the file, the reason and the remedy."""


def write(path: Path, text: str) -> None:
    """Write a file with mode 0600. A reader sees the old or the new file, never a part, and nobody else ever sees any of it.

    Raises:
        PrivateFileError: the file cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be written: {error.strerror or error}") from error


def restrict_new_files() -> None:
    """Let every file and folder that this process makes from now on be its owner's only."""
    os.umask(_OTHERS)


def require_private(path: Path) -> None:
    """Make sure that a file exists and only its owner may use it.

    Raises:
        PrivateFileError: it does not exist, or others may use it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise PrivateFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if mode & _OTHERS:
        raise _too_wide(path, mode)


def make_folder(path: Path) -> None:
    """Make a folder with mode 0700, or take the rights of others away from the one that is there.

    Raises:
        PrivateFileError: it cannot be made, or others could write into it: nobody knows what they left there.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _WRITABLE_BY_OTHERS:
            raise PrivateFileError(
                f"{path}: others may write into this folder (mode {mode:04o}); empty it, or give another"
            )
        if mode & _OTHERS:
            path.chmod(FOLDER_MODE)
    except OSError as error:
        raise PrivateFileError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def read(path: Path) -> str:
    """Return the text of a file that only its owner may read.

    Raises:
        PrivateFileError: the file cannot be read, is not text, or its mode is wider than 0600.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise _too_wide(path, mode)
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise PrivateFileError(f"{path}: cannot be read: {reason}") from error


def _too_wide(path: Path, mode: int) -> PrivateFileError:
    return PrivateFileError(f"{path}: others may use this file (mode {mode:04o}); `chmod 600 {path}`")
