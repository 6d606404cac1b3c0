"""Where artifacts lie: any file system that fsspec knows (local folder, S3, …), given by one URL.

Decides that a file appears whole or not at all, and that a content-addressed file is written once. What is stored under
which path is the caller's; who may read it, the artifact server's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, cast

from otabench.cloud.errors import NotReady, StartError

PRIVATE_FOLDER: Final = "private"
"""What lies in it is not for the artifact server: plain images and patches of campaigns that encrypt."""


@dataclass(frozen=True)
class StoredFile:
    """A file in the store. ``revision`` changes whenever its contents may have."""

    path: str
    length: int
    revision: str


class ArtifactStore:
    """One folder of a file system. All calls block."""

    def __init__(self, file_system: Any, root: str) -> None:
        self._files = file_system
        self._root = root.rstrip("/")

    def put(self, path: str, content: bytes, *, replace: bool = False) -> None:
        """Stores a file whole; one that is there already stays, unless ``replace``.

        Raises:
            NotReady: the store does not take it.
        """
        target = self._full(path)
        try:
            if not replace and self._files.exists(target) and self._files.cat_file(target) == content:
                return
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            unfinished = f"{target}.{secrets.token_hex(4)}.part"
            self._files.pipe_file(unfinished, content)
            self._files.mv(unfinished, target)
        except OSError as error:
            raise NotReady(f"the artifact store does not take {path}: {error}") from error

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            NotReady: it cannot be read.
        """
        try:
            return cast(bytes, self._files.cat_file(self._full(path)))
        except OSError as error:
            raise NotReady(f"the artifact store does not give {path}: {error}") from error

    def find(self, path: str) -> StoredFile | None:
        """The file's facts, or None where there is no such file (or the path leads elsewhere).

        Raises:
            NotReady: the store does not answer.
        """
        if not is_plain(path):
            return None
        try:
            info = self._files.info(self._full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise NotReady(f"the artifact store does not answer: {error}") from error
        if info.get("type") != "file" or info.get("islink"):
            return None
        revision = info.get("mtime") or info.get("ETag") or info.get("LastModified") or info.get("created") or ""
        return StoredFile(path=path, length=int(info["size"]), revision=str(revision))

    def open(self, path: str) -> BinaryIO:
        """The file, opened for reading; it can seek.

        Raises:
            OSError: it cannot be opened.
        """
        return cast(BinaryIO, self._files.open(self._full(path), "rb"))

    def _full(self, path: str) -> str:
        if not is_plain(path):
            raise ValueError(f"{path!r} is not a path inside the store")
        return f"{self._root}/{path}"


def is_private(path: str) -> bool:
    """Whether the path leads into the private folder."""
    return PurePosixPath(path).parts[:1] == (PRIVATE_FOLDER,)


def is_plain(path: str) -> bool:
    """Whether the path stays inside a folder: relative, no ``..``, no empty parts, nothing that a shell or URL could bend."""
    parts = PurePosixPath(path).parts
    return (
        bool(path)
        and "/".join(parts) == path
        and not path.startswith("/")
        and not any(part in ("..", ".") or part.startswith(".") for part in parts)
        and path.isprintable()
        and "\\" not in path
        and not path.endswith(".part")
    )


def open_store(url: str) -> ArtifactStore:
    """Opens the store, and makes its folder where it is absent.

    Raises:
        StartError: the URL is wrong, its protocol's package is missing, or the folder cannot be made.
    """
    import fsspec

    try:
        file_system, root = fsspec.core.url_to_fs(url)
        file_system.makedirs(root, exist_ok=True)
    except (ValueError, ImportError) as error:
        raise StartError(f"artifact_store {url!r}: {error}") from error
    except OSError as error:
        raise StartError(f"artifact_store {url!r}: cannot make the folder: {error}") from error
    return ArtifactStore(file_system, root)
