"""The artifact store: a folder of any file system that fsspec supports (local folder, S3, …), given by one URL.

    store = open_store("file:///var/lib/otabench/artifacts")
    store.put("images/…/engine-2.0.0.bin", content)

Rules:

* A file appears completely or not at all. An object store makes sure of that itself; elsewhere the file is written under another name and
  then moved.
* A content-addressed file is written once.

``image_repository`` makes the paths. The artifact server decides what may be read from outside.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from otabench.cloud.errors import NotReady, StartError
from otabench.proto import private_files

PRIVATE_FOLDER: Final = "private"
"""Where plain images of encrypted campaigns were, before they had a store of their own. It is never served."""


_MAX_NAME_BYTES: Final = 255
"""Of Linux's file systems. A longer name cannot exist, so it is not an error of the store either."""
_MAX_PATH_CHARACTERS: Final = 1024
_PIECE_BYTES: Final = 128 << 10
_OBJECT_STORES: Final = frozenset({"s3", "gs", "abfs", "oss"})
"""fsspec's names of the stores whose objects appear as a whole."""


@dataclass(frozen=True)
class StoredFile:
    """A file in the store. ``revision`` changes whenever the contents may have changed."""

    path: str
    length: int
    revision: str


class ArtifactStore:
    """One folder of a file system. All calls block."""

    def __init__(self, file_system: Any, root: str) -> None:
        self._files = file_system
        self._root = root.rstrip("/")
        protocols = (file_system.protocol,) if isinstance(file_system.protocol, str) else file_system.protocol
        self._is_object_store = not _OBJECT_STORES.isdisjoint(protocols)

    def put(self, path: str, content: bytes, *, replace: bool = False) -> None:
        """Store a file completely. Keep a file that already has these contents.

        Args:
            path: relative to the store.
            content: the whole file.
            replace: write without comparing, for files that are not content-addressed.

        Raises:
            NotReady: the file cannot be written.
        """
        target = self._full(path)
        with _refused(f"cannot write {path}"):
            # The path contains the digest, but the stored file may be damaged. So compare the contents.
            if not replace and self._files.exists(target) and self._files.cat_file(target) == content:
                return
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            if self._is_object_store:  # which has no move: it would copy the object
                self._files.pipe_file(target, content)
                return
            # The name is random, because two processes may store the same file at the same time.
            unfinished = f"{target}.{secrets.token_hex(4)}.part"
            self._files.pipe_file(unfinished, content)
            self._files.mv(unfinished, target)

    def read(self, path: str) -> bytes:
        """Return a whole file.

        Raises:
            NotReady: the file cannot be read.
        """
        with _refused(f"cannot read {path}"):
            return cast(bytes, self._files.cat_file(self._full(path)))

    def find(self, path: str) -> StoredFile | None:
        """Return a file's length and revision, or None if the file does not exist or the path leads out of the store.

        Raises:
            NotReady: the store does not answer.
        """
        if not is_plain(path):
            return None
        with _refused("does not answer"):
            try:
                info = self._files.info(self._full(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
        # A symbolic link in a local folder could lead anywhere.
        if info.get("type") != "file" or info.get("islink"):
            return None
        # File systems use different keys for the revision: local folders mtime, S3 ETag or LastModified.
        revision = info.get("mtime") or info.get("ETag") or info.get("LastModified") or info.get("created") or ""
        return StoredFile(path=path, length=int(info["size"]), revision=str(revision))

    def pieces(self, path: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a part of a file in pieces of at most 128 KiB. If the file has become shorter, the pieces end early.

        Args:
            start: the first byte.
            length: None: to the end.

        Raises:
            NotReady: the file cannot be read.
        """
        left = length
        with _refused(f"cannot read {path}"), self._files.open(self._full(path), "rb") as content:
            content.seek(start)
            while left is None or left > 0:
                piece = content.read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece

    def move_private(self, private_store: ArtifactStore) -> None:
        """Move what an earlier version left in ``private/`` to the private store. Repeating this after a crash is safe.

        Raises:
            NotReady: one of the stores does not answer.
        """
        folder = self._full(PRIVATE_FOLDER)
        with _refused(f"cannot move {PRIVATE_FOLDER}/"):
            if not self._files.exists(folder):
                return
            for found in self._files.find(folder):
                path = found.removeprefix(f"{folder}/")
                # A hidden or unfinished file never had a row in the database.
                if is_plain(path):
                    private_store.put(path, self._files.cat_file(found))
                # One by one: not every S3 server accepts the request for many.
                self._files.rm_file(found)
            if not self._is_object_store:
                self._files.rm(folder, recursive=True)

    def _full(self, path: str) -> str:
        if not is_plain(path):
            raise ValueError(f"{path!r} is not a path inside the store")
        return f"{self._root}/{path}"


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn what a file system raises into NotReady. Each has errors of its own library; those of S3 are not OSErrors."""
    try:
        yield
    except NotReady:
        raise
    except Exception as error:
        raise NotReady(f"the artifact store {what}: {error}") from error


def is_private(path: str) -> bool:
    """Return whether the path leads into the private folder of an earlier version."""
    return PurePosixPath(path).parts[:1] == (PRIVATE_FOLDER,)


def is_plain(path: str) -> bool:
    """Return whether the path stays inside the store and does not name an unfinished file.

    Such a path is relative, and no longer than a file system takes. It does not contain ``..``, empty or hidden parts, backslashes or
    unprintable characters.
    """
    parts = PurePosixPath(path).parts
    return (
        bool(path)
        and "/".join(parts) == path
        and not path.startswith("/")
        and not any(part in ("..", ".") or part.startswith(".") for part in parts)
        and path.isprintable()
        and "\\" not in path
        and not path.endswith(".part")
        and all(len(part.encode(errors="replace")) <= _MAX_NAME_BYTES for part in parts)
        and len(path) <= _MAX_PATH_CHARACTERS
    )


def open_store(url: str) -> ArtifactStore:
    """Open the store. Create its folder if it does not exist.

    Raises:
        StartError: the URL is wrong, its protocol's package is missing, or the folder cannot be made.
    """
    # Imported late, because the import takes long.
    import fsspec

    try:
        # Other processes write into the store as well, so what it contains is not remembered.
        file_system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise StartError(f"artifact_store {url!r}: {error}") from error
    try:
        file_system.makedirs(root, exist_ok=True)
    except Exception as error:  # as in ``_refused``
        raise StartError(f"artifact_store {url!r}: cannot make the folder: {error}") from error
    return ArtifactStore(file_system, root)


def open_private_store(url: str, *, public_url: str) -> ArtifactStore:
    """Open the store of plain images and patches of encrypted campaigns. A new local folder has mode 0700.

    Raises:
        StartError: as ``open_store``; the store lies inside the public one, or others may read its folder.
    """
    import fsspec
    import fsspec.implementations.local

    try:
        (files, root), (public_files, public_root) = fsspec.core.url_to_fs(url), fsspec.core.url_to_fs(public_url)
    except (ValueError, ImportError) as error:
        raise StartError(f"private_store {url!r}: {error}") from error
    if files == public_files and f"{root.rstrip('/')}/".startswith(f"{public_root.rstrip('/')}/"):
        raise StartError(f"private_store {url!r} lies inside artifact_store {public_url!r}, which everybody may read")
    # Other file systems have no modes. There the bucket's access rules keep others out.
    if isinstance(files, fsspec.implementations.local.LocalFileSystem):
        try:
            private_files.make_folder(Path(root))
        except private_files.PrivateFileError as error:
            raise StartError(f"private_store: {error}") from error
    return open_store(url)
