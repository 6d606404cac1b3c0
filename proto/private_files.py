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


def read(path: Path) -> str:
    """Return the text of a file that only its owner may read.

    Raises:
        PrivateFileError: the file cannot be read, is not text, or its mode is wider than 0600.
    """
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise PrivateFileError(f"{path}: others may use this file (mode {mode:04o}); `chmod 600 {path}`")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise PrivateFileError(f"{path}: cannot be read: {reason}") from error
