"""One TUF repository, as its client sees it: python-tuf's client workflow, with every failure as a ``ManifestRefused`` of a kind.

    director = Repository("Director", folder, fetch=files_of(manifest.metadata), root=pinned_root)
    director.refresh()
    targets = director.read("targets.json")

The gateway and the two command line clients (``tuf_client``, ``uptane_client``) verify metadata here and nowhere else.

* ``fetch`` is the only thing that differs between them: the files of a manifest (``files_of``) or HTTP (``http_fetch``).
* python-tuf writes each file into the folder once it has verified it. A caller that wants all or nothing gives it a copy.
* Strings that are not in Unicode Normalization Form C are refused (Uptane 2.1.0, 5.2).
* A threshold counts keys, not key ids: python-tuf counts one key twice if it has two ids, so such metadata are refused here.
* A new Root with other keys for Timestamp or Snapshot ends a fast-forward attack: their old versions no longer count (TUF 1.0, 5.3.11).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, TargetFile  # type: ignore[attr-defined]  # its public names
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.delegations import find_target
from otabench.proto.normal_form import NotNormalized, require_nfc

Fetch = Callable[[str], Iterator[bytes]]
"""Returns the contents of a URL piece by piece. Raises python-tuf's ``DownloadError``: ``DownloadHTTPError`` 404 where there is no file."""

_ROOT: Final = "root.json"
COUNTED_UNDER: Final = "counted_under_root"
"""A file of the folder. Holds the version of the Root under which Timestamp and Snapshot were last accepted."""
_ROLES_WITH_COUNTERS: Final = ("timestamp", "snapshot")


def files_of(metadata: Mapping[str, bytes]) -> Fetch:
    """Return a fetch from the files of a manifest, by name ("timestamp.json", "2.root.json", …)."""

    def fetch(url: str) -> Iterator[bytes]:
        name = _file_name(url)
        if name not in metadata:
            # python-tuf takes 404 as the end of the chain of Roots.
            raise tuf_errors.DownloadHTTPError(f"{name} is not in the manifest", 404)
        return iter([metadata[name]])

    return fetch


def read_root(data: bytes) -> Root:
    """Return a Root that is signed by its own keys. It may be expired, because a newer one may follow.

    Raises:
        ManifestRefused: the bytes are something else.
    """
    _judge_content(data)
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
        if metadata.signed.type != Root.type:
            raise ManifestRefused(
                f"this is {metadata.signed.type} metadata, not root", kind=RefusalKind.MALFORMED_METADATA
            )
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise ManifestRefused(f"not a valid TUF root: {plain(error)}", kind=RefusalKind.MALFORMED_METADATA) from error
    return metadata.signed


class Repository:
    """A client of one repository.

    Args:
        name: "Director" or "Image", for messages.
        folder: of the trusted metadata; must exist.
        fetch: how files are read.
        root: where trust starts. None: at ``root.json`` of the folder.
        url: of the metadata; meaningless to a fetch that only looks at names.
    """

    def __init__(self, name: str, folder: Path, *, fetch: Fetch, root: bytes | None, url: str = "manifest:///") -> None:
        self._name = name
        self._folder = folder
        self._url = url
        self._fetcher = _Fetcher(fetch, metadata_url=url)
        with self._refusals():
            self._root = (folder / _ROOT).read_bytes() if root is None else root
            # Before any request. A Root that is none must not cause traffic.
            read_root(self._root)
            self._updater = self._new_updater()

    def refresh(self) -> None:
        """Run the client workflow: Root, Timestamp, Snapshot, Targets.

        Raises:
            ManifestRefused: one of them is not trusted.
        """
        try:
            with self._refusals():
                self._updater.refresh()
        except ManifestRefused as refusal:
            if refusal.kind is not RefusalKind.ROLLBACK or not self._keys_were_replaced():
                raise
            # The old version numbers were signed by keys that no longer count. Start without them (TUF 1.0, 5.3.11).
            for role in _ROLES_WITH_COUNTERS:
                (self._folder / f"{role}.json").unlink(missing_ok=True)
            with self._refusals():
                self._updater = self._new_updater()
                self._updater.refresh()
        (self._folder / COUNTED_UNDER).write_text(f"{self.newest_root().version}\n", encoding="ascii")

    def read(self, name: str) -> bytes:
        """Return a trusted file."""
        return (self._folder / name).read_bytes()

    def later_roots(self) -> list[bytes]:
        """Return the trusted Roots after the one where trust started, by version."""
        first, newest = read_root(self._root).version, self.newest_root().version
        history = self._folder / "root_history"
        return [(history / f"{version}.root.json").read_bytes() for version in range(first + 1, newest + 1)]

    def find(self, path: str, *, hardware_ids: Set[str] | None = None) -> TargetFile | None:
        """Return what the repository states about a target, after a search through its delegations (``delegations``). None: nothing.

        Args:
            path: of the target.
            hardware_ids: for which it is wanted; None: not known.

        Raises:
            ManifestRefused: a delegated role on the way is not trusted, or a delegation is not well-formed.
        """
        with self._refusals():
            # python-tuf's own search knows neither hardware ids nor multi-role delegations, and its public functions do not load a single
            # role. This one verifies a role by the keys that its parent lists, which is not to be written a second time.
            return find_target(path, load=self._updater._load_targets, hardware_ids=hardware_ids)

    def download(self, target: TargetFile, file: Path, *, base_url: str) -> None:
        """Download a target. The file appears only when length and all hashes were right.

        Raises:
            ManifestRefused: the contents are not those of the target, or cannot be had.
            OSError: the file cannot be written.
        """
        part = file.with_name(f".{file.name}.part")
        try:
            with self._refusals():
                self._updater.download_target(target, str(part), base_url)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def store_root_as_file(self) -> None:
        """Make ``root.json`` a file of its own with the newest trusted Root. python-tuf leaves a symbolic link."""
        link = self._folder / _ROOT
        if link.is_symlink():
            copy = self._folder / f".{_ROOT}"
            copy.write_bytes(link.read_bytes())
            copy.replace(link)

    def _new_updater(self) -> Updater:
        # With ``bootstrap`` trust starts at this Root each time, and not at one that somebody may have put into the folder.
        return Updater(str(self._folder), self._url, fetcher=self._fetcher, bootstrap=self._root)

    def newest_root(self) -> Root:
        """Return the newest trusted Root."""
        return Metadata[Root].from_bytes((self._folder / _ROOT).read_bytes()).signed

    def _keys_were_replaced(self) -> bool:
        """Return whether Timestamp or Snapshot have other keys than when their stored versions were accepted."""
        try:
            version = int((self._folder / COUNTED_UNDER).read_text(encoding="ascii"))
            before = Metadata[Root].from_bytes((self._folder / "root_history" / f"{version}.root.json").read_bytes())
        except (OSError, ValueError, tuf_errors.RepositoryError):
            return False
        now = self.newest_root()
        return any(set(before.signed.roles[r].keyids) != set(now.roles[r].keyids) for r in _ROLES_WITH_COUNTERS)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except tuf_errors.DownloadLengthMismatchError as error:
            raise ManifestRefused(
                f"{self._requested} is longer than it may be", kind=RefusalKind.ENDLESS_DATA
            ) from error
        except tuf_errors.SlowRetrievalError as error:
            raise ManifestRefused(f"{self._requested} arrives too slowly", kind=RefusalKind.SLOW_RETRIEVAL) from error
        except tuf_errors.DownloadHTTPError as error:
            raise ManifestRefused(f"the cloud sent no {self._requested}", kind=RefusalKind.MISSING_METADATA) from error
        except tuf_errors.DownloadError as error:
            raise ManifestRefused(
                f"{self._requested} cannot be had: {plain(error.__cause__ or error)}", kind=RefusalKind.MISSING_METADATA
            ) from error
        except tuf_errors.UnsignedMetadataError as error:
            # "2.root.json" is the role root.
            role = self._requested.removesuffix(".json").rpartition(".")[2]
            raise ManifestRefused(
                f"signed by a key that the pinned {self._name} root does not list for {role}",
                kind=RefusalKind.ARBITRARY_SOFTWARE,
            ) from error
        except tuf_errors.ExpiredMetadataError as error:
            raise ManifestRefused(f"it has expired ({plain(error)})", kind=RefusalKind.FREEZE) from error
        except tuf_errors.BadVersionNumberError as error:
            raise ManifestRefused(
                f"older than one that was accepted before, or a mixture of two ({self._requested}: {plain(error)})",
                kind=RefusalKind.ROLLBACK,
            ) from error
        except tuf_errors.LengthOrHashMismatchError as error:
            raise ManifestRefused(
                f"{self._requested} is not the file that was signed for ({plain(error)})",
                kind=RefusalKind.MIX_AND_MATCH,
            ) from error
        except (tuf_errors.RepositoryError, ValueError) as error:
            raise ManifestRefused(
                f"{self._requested} is not valid metadata ({plain(error)})", kind=RefusalKind.MALFORMED_METADATA
            ) from error

    @property
    def _requested(self) -> str:
        return self._fetcher.requested


class _Fetcher(FetcherInterface):
    """python-tuf's seam. Remembers the file that was requested last, for messages."""

    def __init__(self, fetch: Fetch, *, metadata_url: str) -> None:
        self._fetch_url = fetch
        self._metadata_url = metadata_url
        self.requested = _ROOT

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.requested = _file_name(url)
        pieces = self._fetch_url(url)
        return _judged(pieces) if url.startswith(self._metadata_url) else pieces


def _judged(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pass a metadata file on, and judge it at its end. python-tuf stops reading at the file's longest length."""
    content = bytearray()
    for piece in pieces:
        content += piece
        yield piece
    _judge_content(bytes(content))


def _judge_content(content: bytes) -> None:
    """Apply the rules for a metadata file that python-tuf does not have. Raises ManifestRefused."""
    try:
        require_nfc(content)
    except NotNormalized as error:
        raise ManifestRefused(str(error), kind=RefusalKind.MALFORMED_METADATA) from error
    _judge_keys(content)


def _judge_keys(content: bytes) -> None:
    """Raise ManifestRefused if a role lists one key under two ids. Everything else about the file is python-tuf's."""
    try:
        signed = json.loads(content)["signed"]
        delegator = signed.get("delegations") or signed
        keys, roles = delegator["keys"], delegator.get("roles") or [delegator["succinct_roles"]]
        for role in roles.values() if isinstance(roles, dict) else roles:
            ids = set(role["keyids"])
            publics = {json.dumps(keys[each]["keyval"], sort_keys=True).strip() for each in ids if each in keys}
            if len(publics) < len(ids & set(keys)):
                raise ManifestRefused("a role lists one key under two ids", kind=RefusalKind.ARBITRARY_SOFTWARE)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return  # no metadata with keys: python-tuf refuses what is malformed


def _file_name(url: str) -> str:
    return unquote(url.rsplit("/", 1)[-1])


def plain(error: BaseException) -> str:
    """Return an error's text as one short line."""
    return " ".join(str(error).split())[:200]
