"""A running cloud takes the newest Root and its keys without a restart, and keeps working if a rotation is unfinished or broken."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otabench.bench.keys import ceremony
from otabench.bench.keys.folders import Folders
from otabench.cloud.trust.director import Director
from otabench.cloud.trust.image_metadata import sign_snapshot
from otabench.cloud.trust.keyring import open_director_keys, open_image_repository_keys
from otabench.cloud.trust.keys import init_keys
from otabench.proto.uptane import ManifestCustom

CUSTOM = ManifestCustom(vin="V", job_id="j", campaign_id="c")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_keys(tmp_path / "keys", vins=[], ecus=[])
    return tmp_path / "keys"


def rotate(folder: Path, *roles: str) -> None:
    ceremony.rotate(Folders(folder, folder), ceremony.parse_roles(roles))


def manifest(director: Director) -> dict[str, bytes]:
    signed = director.sign(version=1, expires_at=2_000_000_000, custom=CUSTOM, targets=[])
    return {"timestamp": signed.timestamp, "snapshot": signed.snapshot, "targets": signed.targets}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_manifest_of_before_goes_with_the_roots_of_before_and_is_not_current(folder: Path, role: str) -> None:
    director = Director(open_director_keys(folder))
    before = manifest(director)
    assert director.has_signed_with_present_keys(before)
    assert director.root_files_for(before) == {}

    rotate(folder, "director/root")
    assert director.has_signed_with_present_keys(before), "the keys of its roles are the same"
    assert set(director.root_files_for(before)) == {"2.root.json"}
    rotate(folder, f"director/{role}")

    assert not director.has_signed_with_present_keys(before)
    assert set(director.root_files_for(before)) == {"2.root.json"}, "with Root 3 every vehicle would refuse it"
    after = manifest(director)
    assert director.has_signed_with_present_keys(after)
    assert set(director.root_files_for(after)) == {"2.root.json", "3.root.json"}


def test_new_keys_of_the_image_repository_sign_snapshot_and_timestamp_again(folder: Path) -> None:
    keyring = open_image_repository_keys(folder)
    assert keyring is not None
    now = datetime.now(UTC)
    before = sign_snapshot(keyring.current(), {}, version=1, now=now)
    assert keyring.current().have_signed(before)
    rotate(folder, "image_repository/timestamp")
    assert not keyring.current().have_signed(before)
    assert keyring.current().have_signed(sign_snapshot(keyring.current(), {}, version=2, now=now))


def test_a_root_that_does_not_follow_leaves_the_keys_of_before_in_use(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    director = Director(open_director_keys(folder))
    before = manifest(director)
    init_keys(tmp_path / "thief", vins=[], ecus=[])
    rotate(tmp_path / "thief", "director/timestamp")
    shutil.copy(tmp_path / "thief/director/2.root.json", folder / "director/2.root.json")
    for _ in range(3):
        assert director.has_signed_with_present_keys(before)
    assert [
        record.message for record in caplog.records if "not a TUF Root that follows" in record.message
    ].__len__() == 1
