"""The Uptane Primary: full verification of the Director's metadata, before anything is downloaded.

A bundle of metadata (``GetManifest``) is trusted after these steps:

1. python-tuf's client workflow over the bundle (Root from the pinned one on, Timestamp, Snapshot, Targets: signatures,
   expiry, versions, hashes), against a copy of the metadata accepted before.
2. The vehicle's own rules (``manifest``, ``vehicle_versions``).
3. Later: the Image repository must list the same images (``cross_checks``).
4. Only then the copy becomes the accepted metadata, so that nothing that was refused moves a version number. It is what
   makes an older manifest be refused, after a restart too.

It fetches nothing, and job states play no part here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from otabench.bench.gateway.errors import ManifestRefused, StartError
from otabench.bench.gateway.trust.manifest import KnownEcu, Plan, judge_plan, read_plan
from otabench.bench.gateway.trust.vehicle_versions import judge_versions
from otabench.bench.uds.identity import EcuIdentity

_ROLES_IN_ORDER: Final = ("timestamp.json", "snapshot.json", "targets.json")

CrossCheck = Callable[[Plan], None]
"""Judges a plan by something else that is trusted (the Image repository); raises ManifestRefused."""


@dataclass(frozen=True)
class Accepted:
    """A manifest that was verified and is for this vehicle."""

    plan: Plan
    targets: bytes
    """The Director's signed Targets, as it is handed on to the ECUs."""


class Primary:
    """Verifies manifests of one vehicle.

    Args:
        vin: this vehicle.
        known: its provisioned ECUs.
        director_root: the pinned Root.
        metadata_dir: where accepted metadata is kept.
        cross_checks: further judges of a plan, asked after the own rules.

    Raises:
        StartError: the pinned Root cannot be read or is none.
    """

    def __init__(
        self,
        *,
        vin: str,
        known: Iterable[KnownEcu],
        director_root: Path,
        metadata_dir: Path,
        cross_checks: Iterable[CrossCheck] = (),
    ) -> None:
        self._vin = vin
        self._known = tuple(known)
        self._root = _read_root(director_root)
        self._trusted_dir = metadata_dir
        self._cross_checks = tuple(cross_checks)

    def accept(self, bundle: Mapping[str, bytes], *, job_id: str, identities: Mapping[str, EcuIdentity]) -> Accepted:
        """Verify a bundle and keep it as the accepted metadata.

        Args:
            bundle: file name ("timestamp.json", "2.root.json", …) to signed bytes.
            job_id: the job it is for.
            identities: what the ECUs run now.

        Raises:
            ManifestRefused: it is not trusted, or not for this vehicle; what was accepted before has not moved.
            OSError: the state folder cannot be written.
        """
        self._trusted_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="verifying-", dir=self._trusted_dir.parent) as scratch:
            candidate = Path(scratch, "metadata")
            if self._trusted_dir.exists():
                shutil.copytree(self._trusted_dir, candidate)
            candidate.mkdir(exist_ok=True)
            _refresh(bundle, root=self._root, metadata_dir=candidate)
            targets = (candidate / "targets.json").read_bytes()
            plan = read_plan(targets, self._known)
            judge_plan(plan, vin=self._vin, job_id=job_id, known=self._known, identities=identities)
            judge_versions(plan, identities)
            for judge in self._cross_checks:
                judge(plan)
            _adopt(candidate, self._trusted_dir)
        return Accepted(plan, targets)

    def reread(self, targets: bytes) -> Plan:
        """Return the plan of Targets that were accepted before (they come from the gateway's own store).

        Raises:
            ManifestRefused: they do not fit this gateway's configuration any more.
        """
        return read_plan(targets, self._known)


def _refresh(bundle: Mapping[str, bytes], *, root: bytes, metadata_dir: Path) -> None:
    from tuf.api import exceptions as tuf_errors
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

    class _Bundle(FetcherInterface):
        """Serves the bundle's files to the TUF client."""

        asked = "root.json"

        def _fetch(self, url: str) -> Iterator[bytes]:
            self.asked = unquote(url.rsplit("/", 1)[-1])
            if self.asked not in bundle:
                raise tuf_errors.DownloadHTTPError(f"{self.asked} is not in the bundle", 404)
            return iter([bundle[self.asked]])

    files = _Bundle()
    try:
        updater = Updater(str(metadata_dir), "bundle:///", fetcher=files, bootstrap=root)
        updater.refresh()
    except tuf_errors.DownloadHTTPError as error:
        raise ManifestRefused(f"the cloud sent no {files.asked}") from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise ManifestRefused(f"{files.asked} is longer than it may be") from error
    except tuf_errors.UnsignedMetadataError as error:
        role = files.asked.removesuffix(".json").rpartition(".")[2]
        raise ManifestRefused(f"signed by a key that the pinned Director root does not list for {role}") from error
    except tuf_errors.ExpiredMetadataError as error:
        raise ManifestRefused(f"it has expired ({_plain(error)})") from error
    except tuf_errors.BadVersionNumberError as error:
        raise ManifestRefused(
            f"older than one that was accepted before, or mixed ({files.asked}: {_plain(error)})"
        ) from error
    except tuf_errors.LengthOrHashMismatchError as error:
        raise ManifestRefused(f"{files.asked} is not the file that was signed for ({_plain(error)})") from error
    except tuf_errors.RepositoryError as error:
        raise ManifestRefused(f"{files.asked} is not valid metadata ({_plain(error)})") from error


def _adopt(candidate: Path, trusted_dir: Path) -> None:
    """Put verified files in their place one by one, each atomically, Timestamp first: it is what holds off older ones.

    A crash in between leaves a mix that TUF's workflow mends from the next bundle.
    """
    (trusted_dir / "root_history").mkdir(parents=True, exist_ok=True)
    names = [*_ROLES_IN_ORDER, *(f"root_history/{path.name}" for path in (candidate / "root_history").iterdir())]
    for name in names:
        if (candidate / name).exists():
            with (candidate / name).open("rb") as written:
                os.fsync(written.fileno())
            (candidate / name).replace(trusted_dir / name)


def _read_root(path: Path) -> bytes:
    try:
        root = path.read_bytes()
    except OSError as error:
        raise StartError(
            f"director_root {path}: {(error.strerror or str(error)).lower()}; "
            "the gateway needs the Director's root.json that was pinned at provisioning (otabench keys init)"
        ) from error
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names

    try:
        metadata: Metadata[Root] = Metadata.from_bytes(root)
        if metadata.signed.type != Root.type:
            raise StartError(f"director_root {path}: this is {metadata.signed.type} metadata, not root")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise StartError(f"director_root {path}: not a valid TUF root: {_plain(error)}") from error
    return root


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
