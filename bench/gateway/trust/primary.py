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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
        # Here and not at the top: python-tuf takes a while to import, and most runs of the gateway have no job.
        from otabench.bench.gateway.trust.repository import Repository, files_of

        self._trusted_dir.parent.mkdir(parents=True, exist_ok=True)
        # Beside the accepted metadata, so that its files can be renamed into place on the same file system.
        with tempfile.TemporaryDirectory(prefix="verifying-", dir=self._trusted_dir.parent) as scratch:
            candidate = Path(scratch, "metadata")
            if self._trusted_dir.exists():
                shutil.copytree(self._trusted_dir, candidate)
            candidate.mkdir(exist_ok=True)
            # 1. Signatures, expiry, versions and hashes, on a copy of the accepted metadata.
            director = Repository("Director", candidate, fetch=files_of(metadata), root=self._root)
            director.refresh()
            targets = director.read("targets.json")
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


def _adopt(candidate: Path, trusted_dir: Path) -> None:
    """Move verified files to their place, each one atomically.

    Timestamp moves first, because its version number is what refuses older metadata. A crash in between leaves a mixture of old and new
    files, which TUF's workflow repairs with the next manifest.
    """
    (trusted_dir / "root_history").mkdir(parents=True, exist_ok=True)
    names = [*_ROLES_IN_ORDER, "counted_under_root"]
    names += [f"root_history/{path.name}" for path in (candidate / "root_history").iterdir()]
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
    from otabench.bench.gateway.trust.repository import read_root

    try:
        # A Root must be signed by its own keys. A damaged or edited file is noticed here, at the start, and not at the first update.
        read_root(root)
    except ManifestRefused as error:
        raise StartError(f"director_root {path}: {error}") from error
    return root
