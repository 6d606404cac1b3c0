"""The Uptane Primary: full verification of the Director's metadata, before anything is downloaded.

    primary = Primary(vin=vin, known=ecus, director_root=root_path, metadata_dir=state_dir / "director")
    accepted = primary.accept(manifest.metadata, job_id=job_id, identities=identities)

``accept`` trusts the metadata of a manifest (``GetManifest``) after these steps:

1. Run python-tuf's client workflow on a copy of the metadata that was accepted before: Root, starting from the pinned one, then Timestamp,
   Snapshot and Targets. It checks signatures, expiry, versions and hashes.
2. Apply the vehicle's own rules (``manifest``, ``vehicle_versions``).
3. Apply ``cross_checks``. The Image repository, which must list the same images, is not built yet.
4. Make the copy the accepted metadata. Refused metadata thus never changes a stored version number, and accepted version numbers survive a
   restart: an older manifest (replay) is refused then, too.

This module downloads nothing and does not depend on job states.
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
"""Judges a plan by another trusted source, such as the Image repository; raises ManifestRefused."""


@dataclass(frozen=True)
class Accepted:
    """A verified manifest for this vehicle."""

    plan: Plan
    targets: bytes
    """The Director's signed Targets, which the ECUs receive unchanged."""


class Primary:
    """Verification of one vehicle's manifests.

    Args:
        vin: this vehicle.
        known: its provisioned ECUs.
        director_root: the pinned Root.
        metadata_dir: the folder of the accepted metadata.
        cross_checks: further judges of a plan, called after the vehicle's own rules.

    Raises:
        StartError: the pinned Root cannot be read, or is not a valid Root.
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

    def accept(self, metadata: Mapping[str, bytes], *, job_id: str, identities: Mapping[str, EcuIdentity]) -> Accepted:
        """Verify a manifest's metadata and store it as the accepted metadata.

        Args:
            metadata: signed bytes by file name ("timestamp.json", "2.root.json", …).
            job_id: the job that the manifest must belong to.
            identities: what the ECUs run now.

        Raises:
            ManifestRefused: the metadata is not trusted, or not for this vehicle. The metadata accepted before is unchanged.
            OSError: the state folder cannot be written.
        """
        self._trusted_dir.parent.mkdir(parents=True, exist_ok=True)
        # Beside the accepted metadata, so that its files can be renamed into place on the same file system.
        with tempfile.TemporaryDirectory(prefix="verifying-", dir=self._trusted_dir.parent) as scratch:
            candidate = Path(scratch, "metadata")
            if self._trusted_dir.exists():
                shutil.copytree(self._trusted_dir, candidate)
            candidate.mkdir(exist_ok=True)
            # 1. Signatures, expiry, versions and hashes, on a copy of the accepted metadata.
            _refresh(metadata, root=self._root, metadata_dir=candidate)
            targets = (candidate / "targets.json").read_bytes()
            # 2. The vehicle's own rules.
            plan = read_plan(targets, self._known)
            judge_plan(plan, vin=self._vin, job_id=job_id, known=self._known, identities=identities)
            judge_versions(plan, identities)
            # 3. Other trusted sources.
            for judge in self._cross_checks:
                judge(plan)
            # 4. Nothing was refused: the copy becomes the accepted metadata.
            _adopt(candidate, self._trusted_dir)
        return Accepted(plan, targets)

    def reread(self, targets: bytes) -> Plan:
        """Return the plan of Targets that were accepted before. Their signatures are not verified again: they come from the gateway's
        store.

        Raises:
            ManifestRefused: the Targets no longer fit this gateway's configuration.
        """
        return read_plan(targets, self._known)


def _refresh(metadata: Mapping[str, bytes], *, root: bytes, metadata_dir: Path) -> None:
    from tuf.api import exceptions as tuf_errors
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater

    class _Files(FetcherInterface):
        """Serves the manifest's files to the TUF client."""

        requested = "root.json"

        def _fetch(self, url: str) -> Iterator[bytes]:
            self.requested = unquote(url.rsplit("/", 1)[-1])
            if self.requested not in metadata:
                # python-tuf takes 404 as the end of the chain of Roots.
                raise tuf_errors.DownloadHTTPError(f"{self.requested} is not in the manifest", 404)
            return iter([metadata[self.requested]])

    files = _Files()
    try:
        # With ``bootstrap`` trust starts at the pinned Root each time, and not at a cached Root that somebody may have replaced on disk.
        updater = Updater(str(metadata_dir), "manifest:///", fetcher=files, bootstrap=root)
        updater.refresh()
    except tuf_errors.DownloadHTTPError as error:
        raise ManifestRefused(f"the cloud sent no {files.requested}") from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise ManifestRefused(f"{files.requested} is longer than it may be") from error
    except tuf_errors.UnsignedMetadataError as error:
        # "2.root.json" is the role root.
        role = files.requested.removesuffix(".json").rpartition(".")[2]
        raise ManifestRefused(f"signed by a key that the pinned Director root does not list for {role}") from error
    except tuf_errors.ExpiredMetadataError as error:
        raise ManifestRefused(f"it has expired ({_plain(error)})") from error
    except tuf_errors.BadVersionNumberError as error:
        raise ManifestRefused(
            f"older than one that was accepted before, or a mixture of two ({files.requested}: {_plain(error)})"
        ) from error
    except tuf_errors.LengthOrHashMismatchError as error:
        raise ManifestRefused(f"{files.requested} is not the file that was signed for ({_plain(error)})") from error
    except tuf_errors.RepositoryError as error:
        raise ManifestRefused(f"{files.requested} is not valid metadata ({_plain(error)})") from error


def _adopt(candidate: Path, trusted_dir: Path) -> None:
    """Move verified files to their place, each one atomically.

    Timestamp moves first, because its version number is what refuses older metadata. A crash in between leaves a mixture of old and new
    files, which TUF's workflow repairs with the next manifest.
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
        # A Root must be signed by its own keys. A damaged or edited file is noticed here, at the start, and not at the first update.
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise StartError(f"director_root {path}: not a valid TUF root: {_plain(error)}") from error
    return root


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
