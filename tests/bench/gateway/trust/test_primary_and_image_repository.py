"""The gateway with an Image repository: a manifest counts only if both repositories agree, and both are adopted together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # its public name

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind, StartError
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.gateway.trust.primary import Primary
from tests.bench.gateway.model_vehicle import ModelVehicle
from tests.bench.gateway.trust.tuf_repository import TufRepository
from tests.bench.gateway.world import ECUS, VIN, World


class Both:
    """A vehicle, its Director and an Image repository that lists what the Director's manifest names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder, ModelVehicle.build(folder / "vehicle", ECUS))
        self.images = TufRepository(consistent=False)
        self.manifest = self.world.manifest()
        for path, entry in json.loads(self.manifest["targets.json"])["signed"]["targets"].items():
            self.images.targets["targets"].targets[path] = TargetFile.from_dict(entry, path)
        self.images.publish()
        (folder / "root.json").write_bytes(self.world.director.root())
        (folder / "image-root.json").write_bytes(self.images.first_root)
        self.primary = Primary(
            vin=VIN,
            known=[KnownEcu(ecu.name, ecu.serial, ecu.hardware_id) for ecu in ECUS],
            director_root=folder / "root.json",
            image_root=folder / "image-root.json",
            metadata_dir=folder / "state",
        )

    def accept(self, image_metadata: dict[str, bytes] | None = None) -> None:
        self.primary.accept(
            self.manifest,
            image_metadata=self.images.files if image_metadata is None else image_metadata,
            job_id="job-1",
            identities=self.world.vehicle.identify(),
        )

    def trusted(self) -> set[str]:
        state = self.folder / "state"
        return {str(file.relative_to(state)) for file in state.glob("*/*.json")}


def test_a_manifest_to_which_the_image_repository_agrees_is_accepted(tmp_path: Path) -> None:
    both = Both(tmp_path)
    both.accept()
    assert both.trusted() == {
        f"{name}/{role}.json" for name in ("director", "image") for role in ("timestamp", "snapshot", "targets")
    }


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("not listed", RefusalKind.UNKNOWN_IMAGE),
        ("other length", RefusalKind.REPOSITORIES_DISAGREE),
        ("other hardware", RefusalKind.OTHER_HARDWARE),
        ("no metadata", RefusalKind.MISSING_METADATA),
        ("foreign", RefusalKind.ARBITRARY_SOFTWARE),
    ],
)
def test_without_the_image_repository_nothing_is_trusted(tmp_path: Path, fault: str, kind: RefusalKind) -> None:
    both = Both(tmp_path)
    targets = both.images.targets["targets"].targets
    path = next(iter(targets))
    if fault == "not listed":
        del targets[path]
    if fault == "other length":
        targets[path].length += 1
    if fault == "other hardware":
        targets[path].unrecognized_fields["custom"]["hardware_id"] = "another"
    both.images.publish()
    files = {"no metadata": {}, "foreign": TufRepository(consistent=False).files}.get(fault)
    with pytest.raises(ManifestRefused) as refusal:
        both.accept(files)
    assert refusal.value.kind is kind
    # The Director's metadata were right, and are not kept either.
    assert both.trusted() == set()


def test_a_pinned_image_root_that_is_none_stops_the_start(tmp_path: Path) -> None:
    both = Both(tmp_path)
    (tmp_path / "image-root.json").write_bytes(b"{}")
    with pytest.raises(StartError, match=r"image_root .*image-root.json: not a valid TUF root"):
        Primary(
            vin=VIN,
            known=[],
            director_root=tmp_path / "root.json",
            image_root=tmp_path / "image-root.json",
            metadata_dir=both.folder / "state",
        )
