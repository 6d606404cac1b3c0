"""The Uptane Primary: full verification of the metadata, before anything is downloaded.

    primary = Primary(vin=vin, known=ecus, director_root=root_path, image_root=image_root_path, metadata_dir=state_dir)
    accepted = primary.accept(manifest.metadata, image_metadata=manifest.image_metadata, job_id=job_id, identities=identities)

``accept`` trusts the metadata of a manifest (``GetManifest``) after these steps:

1. Run python-tuf's client workflow (``repository``) on a copy of the Director's metadata that was accepted before: Root, starting from the
   pinned one, then Timestamp, Snapshot and Targets. It checks signatures, expiry, versions and hashes. Then apply Uptane's rules for the
   Director (``two_repositories``).
2. Apply the vehicle's own rules (``manifest``, ``vehicle_versions``).
3. Do step 1 with the Image repository, which must list the same images (``two_repositories``).
4. Judge expiry once more, by the attested time (``attested_time``): the machine's clock may have been set back.
5. Make both copies the accepted metadata. Refused metadata thus never changes a stored version number, and accepted version numbers survive
   a restart: an older manifest (replay) is refused then, too.

This module downloads nothing and does not depend on job states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind, StartError
from otabench.bench.gateway.trust.manifest import KnownEcu, Plan, judge_plan, read_plan
from otabench.bench.gateway.trust.vehicle_versions import judge_versions
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto import metadata_window
from otabench.proto.metadata_window import MalformedWindow

if TYPE_CHECKING:
    from otabench.bench.gateway.trust.attested_time import TimeAnswer


@dataclass(frozen=True)
class Accepted:
    """A verified manifest for this vehicle."""

    plan: Plan
    time_problem: str
    """Why the time was not attested; empty if it was, or nobody attests it."""
    window: bytes
    """What the ECUs receive: the Director's signed Targets, unchanged, and the Roots that followed the pinned one
    (``proto.metadata_window``)."""


class Primary:
    """Verification of one vehicle's manifests.

    Args:
        vin: this vehicle.
        known: its provisioned ECUs.
        director_root: the pinned Root.
        metadata_dir: the folder of the accepted metadata: ``director`` and ``image`` in it.
        image_root: the pinned Root of the Image repository. None: the gateway has no Image repository, and trusts the Director alone.

    Raises:
        StartError: a pinned Root cannot be read, or is not a valid Root.
    """

    def __init__(
        self,
        *,
        vin: str,
        known: Iterable[KnownEcu],
        director_root: Path,
        metadata_dir: Path,
        image_root: Path | None = None,
    ) -> None:
        self._vin = vin
        self._known = tuple(known)
        self._root = _read_root(director_root, "director_root")
        self._image_root = None if image_root is None else _read_root(image_root, "image_root")
        self._director_dir = metadata_dir / "director"
        self._image_dir = metadata_dir / "image"
        self._time_file = metadata_dir / "attested_time.json"

    def accept(
        self,
        metadata: Mapping[str, bytes],
        *,
        job_id: str,
        identities: Mapping[str, EcuIdentity],
        image_metadata: Mapping[str, bytes] | None = None,
        time: TimeAnswer | None = None,
    ) -> Accepted:
        """Verify a manifest's metadata and store it as the accepted metadata.

        Args:
            metadata: signed bytes by file name ("timestamp.json", "2.root.json", …).
            job_id: the job that the manifest must belong to.
            identities: what the ECUs run now.
            image_metadata: the Image repository's files, as ``metadata``.
            time: the answer to a request for the time, made just now.

        Raises:
            ManifestRefused: the metadata is not trusted, or not for this vehicle. The metadata accepted before is unchanged.
            OSError: the state folder cannot be written.
        """
        # Here and not at the top: python-tuf takes a while to import, and most runs of the gateway have no job.
        from otabench.bench.gateway.trust.attested_time import KnownTime
        from otabench.bench.gateway.trust.repository import Repository, files_of
        from otabench.bench.gateway.trust.two_repositories import scratch_copies, verify_director, verify_image

        with scratch_copies(self._director_dir, self._image_dir) as (director_copy, image_copy):
            # 1. Signatures, expiry, versions and hashes, on a copy of the accepted metadata.
            director = Repository("Director", director_copy, fetch=files_of(metadata), root=self._root)
            stated = verify_director(director)
            targets = director.read("targets.json")
            roots = director.later_roots()
            window = metadata_window.pack(roots, targets)
            # 2. The vehicle's own rules.
            plan = read_plan(targets, self._known)
            judge_plan(plan, vin=self._vin, job_id=job_id, known=self._known, identities=identities)
            judge_versions(plan, identities)
            # With the newest Root only: which ones an ECU has already is not known before it is programmed.
            _judge_size(len(metadata_window.pack(roots[-1:], targets)), plan, self._known)
            # 3. The Image repository.
            if self._image_root is not None:
                verify_image(
                    Repository("Image", image_copy, fetch=files_of(image_metadata or {}), root=self._image_root), stated
                )
            # 4. Expiry at the attested time.
            known, time_problem = KnownTime.read(self._time_file).after(time, director.newest_root())
            known.judge_expiry(director_copy)
            if self._image_root is not None:
                known.judge_expiry(image_copy)
            # 5. Nothing was refused: the copies become the accepted metadata when this block ends.
        known.write(self._time_file)
        return Accepted(plan, time_problem, window)

    def reread(self, window: bytes) -> Plan:
        """Return the plan of Targets that were accepted before (``Accepted.window``).

        Their signatures are not verified again: they come from the gateway's store.

        Raises:
            ManifestRefused: the Targets no longer fit this gateway's configuration.
        """
        try:
            return read_plan(metadata_window.parse(window).targets, self._known)
        except MalformedWindow as error:
            raise ManifestRefused(f"what was stored of it is damaged: {error}") from error


def _judge_size(size_bytes: int, plan: Plan, known: Iterable[KnownEcu]) -> None:
    """Refuse metadata that an ECU cannot receive. Otherwise the driver would be asked, and the update fail at that ECU."""
    windows = {ecu.name: ecu.metadata_bytes for ecu in known}
    for planned in plan.ecus:
        window = windows[planned.ecu]
        if window is not None and size_bytes > window:
            raise ManifestRefused(
                f"Targets and Roots have {size_bytes:,} bytes, the metadata window of {planned.ecu} has {window:,}",
                kind=RefusalKind.TOO_LARGE,
            )


def _read_root(path: Path, name: str) -> bytes:
    try:
        root = path.read_bytes()
    except OSError as error:
        raise StartError(
            f"{name} {path}: {(error.strerror or str(error)).lower()}; "
            "the gateway needs the root.json that was pinned at provisioning (otabench keys init)"
        ) from error
    from otabench.bench.gateway.trust.repository import read_root

    try:
        # A Root must be signed by its own keys. A damaged or edited file is noticed here, at the start, and not at the first update.
        read_root(root)
    except ManifestRefused as error:
        raise StartError(f"{name} {path}: {error}") from error
    return root
