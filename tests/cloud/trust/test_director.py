"""The Director's metadata: python-tuf's client with the pinned Root accepts it, and refuses what it must."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, RepositoryError, UnsignedMetadataError
from tuf.ngclient import FetcherInterface, Updater  # type: ignore[attr-defined]  # its public names

from otabench.cloud.trust.director import Director, SignedManifest, TargetEntry
from otabench.cloud.trust.keys import init_keys, load_director_keys
from otabench.proto.normal_form import require_nfc
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, ManifestCustom, PatchCustom, TargetCustom

PATH = f"images/{'a' * 64}/engine-mcu-a-2.0.0.bin"
CUSTOM = ManifestCustom(
    vin="VIN1", job_id="job-1", campaign_id="campaign-1", campaign_name="Autumn", approval_timeout_s=1.5
)
PATCH = PatchCustom(
    path="patches/x/y.bsdiff", length=9, sha256="b" * 64, base_version="1.0.0", base_sha256="c" * 64, base_length=10
)
ENTRY = TargetEntry(
    path=PATH,
    length=1234,
    sha256="a" * 64,
    custom=TargetCustom(ecu_serial="S1", hardware_id="engine-mcu-a", version="2.0.0", release_counter=2, patch=PATCH),
)


class FromMemory(FetcherInterface):
    """A fetcher of a manifest's files; 404 for the next Root."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self.files:
            raise DownloadHTTPError("not there", 404)
        return iter([self.files[name]])


def sign(keys_dir: Path, *, version: int = 1, lifetime_s: float = 3600) -> SignedManifest:
    director = Director(load_director_keys(keys_dir))
    return director.sign(version=version, expires_at=time.time() + lifetime_s, custom=CUSTOM, targets=[ENTRY])


def client(keys_dir: Path, folder: Path, files: dict[str, bytes]) -> Updater:
    folder.mkdir(exist_ok=True)
    return Updater(
        metadata_dir=str(folder),
        metadata_base_url="memory://",
        fetcher=FromMemory(files),
        bootstrap=(keys_dir / "director" / "root.json").read_bytes(),
    )


def test_a_tuf_client_with_the_pinned_root_accepts_the_manifest(keys_dir: Path, tmp_path: Path) -> None:
    signed = sign(keys_dir)
    updater = client(keys_dir, tmp_path / "client", signed.files())

    updater.refresh()

    target = updater.get_targetinfo(PATH)
    assert target is not None
    assert target.length == 1234
    assert target.hashes == {"sha256": "a" * 64}
    assert TargetCustom.model_validate(target.custom) == ENTRY.custom
    custom = ManifestCustom.model_validate(updater._trusted_set.targets.unrecognized_fields[MANIFEST_CUSTOM_KEY])
    assert custom.vin == "VIN1"
    assert custom.approval_timeout_s == 2.0, "whole seconds, rounded up: canonical JSON has no fractions"
    assert signed.patches == {"engine-mcu-a": 9}


def test_a_client_that_saw_a_newer_manifest_refuses_an_older_one(keys_dir: Path, tmp_path: Path) -> None:
    client(keys_dir, tmp_path / "client", sign(keys_dir, version=2).files()).refresh()

    with pytest.raises(RepositoryError):
        client(keys_dir, tmp_path / "client", sign(keys_dir, version=1).files()).refresh()


def test_an_expired_manifest_is_refused(keys_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ExpiredMetadataError):
        client(keys_dir, tmp_path / "client", sign(keys_dir, lifetime_s=-5).files()).refresh()


def test_a_manifest_of_another_director_is_refused(keys_dir: Path, tmp_path: Path) -> None:
    init_keys(tmp_path / "other", vins=[], ecus=[])

    with pytest.raises(UnsignedMetadataError):
        client(keys_dir, tmp_path / "client", sign(tmp_path / "other").files()).refresh()


@pytest.mark.parametrize("targets", [[], [ENTRY]])
def test_targets_name_the_vehicle_whether_they_list_images_or_not(keys_dir: Path, targets: list[TargetEntry]) -> None:
    director = Director(load_director_keys(keys_dir))
    signed = director.sign(version=1, expires_at=time.time() + 3600, custom=CUSTOM, targets=targets)
    content = json.loads(signed.targets)["signed"]
    assert len(content["targets"]) == len(targets)
    assert content[MANIFEST_CUSTOM_KEY]["vin"] == "VIN1"


def test_what_an_operator_types_is_signed_in_unicode_form_c(keys_dir: Path) -> None:
    custom = CUSTOM.model_copy(update={"campaign_name": "Fru\u0308hling", "release_notes": "\u212b"})
    director = Director(load_director_keys(keys_dir))
    signed = director.sign(version=1, expires_at=time.time() + 3600, custom=custom, targets=[ENTRY])
    require_nfc(signed.targets)
    stated = ManifestCustom.model_validate(json.loads(signed.targets)["signed"][MANIFEST_CUSTOM_KEY])
    assert (stated.campaign_name, stated.release_notes) == ("Fr\u00fchling", "\u00c5")


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_a_changed_file_is_refused(keys_dir: Path, tmp_path: Path, name: str) -> None:
    files = sign(keys_dir).files()
    files[name] = files[name].replace(b'"version":1', b'"version":9')

    with pytest.raises(RepositoryError):
        client(keys_dir, tmp_path / "client", files).refresh()
