"""The Image repository in the cloud: it takes what the offline keys have signed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # its public names
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.cloud.errors import StartError
from otabench.cloud.trust.image_metadata import (
    ImageRepositoryKeys,
    PublicationRefused,
    check_publication,
    listed_targets,
    load_image_repository_keys,
    needs_new_snapshot,
    sign_snapshot,
)
from otabench.cloud.trust.keys import init_keys, load_director_keys, load_signer
from otabench.proto import ota_pb2
from tests.cloud.bench import ADAS, CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of

NOW = datetime.now(UTC)
ENGINE_2 = ListedImage(ENGINE, "2.0.0", b"engine", 2)
ADAS_2 = ListedImage(ADAS, "2.0.0", b"adas", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_keys(tmp_path / "keys", vins=["WBENCH00000000001"], ecus=[])
    return tmp_path / "keys"


def keys_of(folder: Path) -> ImageRepositoryKeys:
    keys = load_image_repository_keys(folder)
    assert keys is not None
    return keys


def test_what_is_signed_offline_and_online_verifies_from_the_root(folder: Path) -> None:
    keys, offline = keys_of(folder), OfflineRepository(folder / "image_repository")
    published = check_publication(keys.root, offline.add([ENGINE_2]), current={}, now=NOW)
    published = check_publication(keys.root, offline.add([ADAS_2]), current=published, now=NOW)
    online = sign_snapshot(keys, published, version=2, now=NOW)
    # then: a TUF client accepts all of it, and each supplier lists the images of its hardware
    trusted = TrustedMetadataSet((folder / "image_repository/root.json").read_bytes(), EnvelopeType.METADATA)
    trusted.update_timestamp(online["timestamp.json"])
    trusted.update_snapshot(online["snapshot.json"])
    trusted.update_targets(published["targets.json"])
    for image in (ENGINE_2, ADAS_2):
        role = f"supplier-{image.hardware_id}"
        targets = trusted.update_delegated_targets(published[f"{role}.json"], role, "targets")
        assert set(targets.targets) == {image.path}
    assert set(listed_targets(published)) == {ENGINE_2.path, ADAS_2.path}


def test_a_suppliers_rule_ends_the_search_and_the_longest_hardware_id_comes_first(folder: Path) -> None:
    offline = OfflineRepository(folder / "image_repository")
    longer = ListedImage(f"{ENGINE}-b", "1.0.0", b"longer", 1)
    offline.add([ENGINE_2])
    files = offline.add([longer])
    delegations = Metadata[Targets].from_bytes(files["targets.json"]).signed.delegations
    assert delegations is not None
    assert next(delegations.get_roles_for_target(longer.path)) == (f"supplier-{ENGINE}-b", True)
    assert next(delegations.get_roles_for_target(ENGINE_2.path)) == (f"supplier-{ENGINE}", True)


def _without_supplier(files: dict[str, bytes], _: Path) -> dict[str, bytes]:
    return {"targets.json": files["targets.json"]}


def _by_online_key(files: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """Whoever breaks into the cloud has the online keys, and signs Targets with one of them."""
    root = Metadata[Root].from_file(str(folder / "image_repository/root.json")).signed
    targets = Metadata(Metadata[Targets].from_bytes(files["targets.json"]).signed)
    targets.sign(load_signer(folder / "image_repository/snapshot.pem", "snapshot", root))
    return {**files, "targets.json": targets.to_bytes()}


def _supplier_of_others(files: dict[str, bytes], _: Path) -> dict[str, bytes]:
    name = f"supplier-{ENGINE}.json"
    supplier = Metadata(Metadata[Targets].from_bytes(files[name]).signed)
    supplier.sign(CryptoSigner.generate_ed25519())
    return {**files, name: supplier.to_bytes()}


def _accent_of_its_own(files: dict[str, bytes], _: Path) -> dict[str, bytes]:
    return {**files, "targets.json": files["targets.json"].replace(b'"targets"', b'"e\\u0301"', 1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_accent_of_its_own, "targets.json: the string"),
        (_without_supplier, "supplier-engine-mcu-a.json is missing"),
        (_by_online_key, "targets.json is not signed by the keys of its role"),
        (_supplier_of_others, "supplier-engine-mcu-a.json is not signed by the keys of its role"),
        (lambda files, _: {**files, "evil.json": files["targets.json"]}, "evil.json: the top-level Targets do not"),
        (lambda files, _: {**files, "targets.json": b"[" * 10_000}, "targets.json is not signed"),
        (lambda files, _: {**files, "targets.json": b" " * 2_000_000}, "2000000 bytes are more than"),
        (lambda files, _: {**files, "targets.json": files["root.json"]}, "targets.json is root metadata"),
        (lambda files, _: {f"{number}.json": b"" for number in range(300)}, "300 files are more than"),
    ],
)
def test_a_publication_that_is_not_signed_right_is_refused(
    folder: Path, change: Callable[[dict[str, bytes], Path], dict[str, bytes]], words: str
) -> None:
    files = OfflineRepository(folder / "image_repository").add([ENGINE_2])
    files["root.json"] = (folder / "image_repository/root.json").read_bytes()
    changed = change(files, folder)
    changed.pop("root.json", None)
    with pytest.raises(PublicationRefused) as refused:
        check_publication(keys_of(folder).root, changed, current={}, now=NOW)
    assert words in str(refused.value)


def test_an_older_or_expired_publication_is_refused(folder: Path) -> None:
    keys, offline = keys_of(folder), OfflineRepository(folder / "image_repository")
    old = offline.add([ENGINE_2])
    current = check_publication(keys.root, offline.add([ENGINE_2]), current={}, now=NOW)
    with pytest.raises(PublicationRefused, match=r"targets.json: version 1 is older than the published one"):
        check_publication(keys.root, old, current=current, now=NOW)
    with pytest.raises(PublicationRefused, match=r"targets.json has expired"):
        check_publication(keys.root, old, current={}, now=NOW + timedelta(days=400))


def test_snapshot_and_timestamp_are_signed_again_in_time(folder: Path) -> None:
    keys = keys_of(folder)
    online = sign_snapshot(keys, {}, version=1, now=NOW)
    assert not needs_new_snapshot(online["timestamp.json"], now=NOW + timedelta(hours=11))
    assert needs_new_snapshot(online["timestamp.json"], now=NOW + timedelta(hours=13))


# Roots


def _second_root(folder: Path, *, sign_with: tuple[str, ...], version: int = 2) -> CryptoSigner:
    """Write ``N.root.json`` with a new Snapshot key; the old one is revoked."""
    root = Metadata[Root].from_file(str(folder / "root.json"))
    signer = CryptoSigner.generate_ed25519()
    root.signed.revoke_key(root.signed.roles["snapshot"].keyids[0], "snapshot")
    root.signed.add_key(signer.public_key, "snapshot")
    root.signed.version = version
    root.signatures.clear()
    for name in sign_with:
        root.sign(load_signer(folder / f"{name}.pem", "root", root.signed), append=True)
    root.to_file(str(folder / "2.root.json"))
    (folder / "snapshot.pem").write_bytes(signer.private_bytes)
    return signer


@pytest.mark.parametrize(
    ("repository", "root_keys"), [("director", ("root-2", "root-3")), ("image_repository", ("root-1", "root-3"))]
)
def test_the_newest_root_counts(folder: Path, repository: str, root_keys: tuple[str, ...]) -> None:
    signer = _second_root(folder / repository, sign_with=root_keys)
    if repository == "director":
        keys = load_director_keys(folder)
        assert keys.root.signed.version == 2
        assert keys.signers["snapshot"].public_key.keyid == signer.public_key.keyid
    else:
        assert keys_of(folder).root.version == 2
        assert set(keys_of(folder).root_files) == {"2.root.json"}


def test_a_root_below_its_threshold_stops_the_start(folder: Path) -> None:
    _second_root(folder / "image_repository", sign_with=("root-2",))
    with pytest.raises(StartError, match=r"2\.root\.json is not a TUF Root that follows"):
        load_image_repository_keys(folder)


def test_a_root_that_skips_a_version_stops_the_start(folder: Path) -> None:
    _second_root(folder / "director", sign_with=("root-1", "root-2"), version=3)
    with pytest.raises(StartError, match=r"is version 3: it must be 2"):
        load_director_keys(folder)


# The cloud


def test_a_campaign_for_an_image_that_is_not_published_is_refused(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    vehicle.register(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, images(ENGINE, "2.7.1", seed=271)))
    with pytest.raises(grpc.RpcError) as refused:
        shared_cloud.operator.CreateCampaign(request, timeout=CALL_S)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"{ENGINE} 2.7.1 is not in the Image repository: publish it first" in words_of(refused.value)
    shared_cloud.create_campaign(request)
    # and: the vehicle receives the metadata of both repositories
    job_id = vehicle.check_in(shared_cloud).job_id
    asked = ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id=job_id)
    answer = vehicle.control(shared_cloud).GetManifest(asked, timeout=CALL_S)
    assert {"timestamp.json", "snapshot.json", "targets.json", f"supplier-{ENGINE}.json"} <= set(answer.image_metadata)
    (path,) = json.loads(answer.metadata["targets.json"])["signed"]["targets"]
    assert path in json.loads(answer.image_metadata[f"supplier-{ENGINE}.json"])["signed"]["targets"]


def test_a_vehicle_cannot_publish(shared_cloud: Cloud, vehicle: Vehicle) -> None:
    vehicle.register(shared_cloud)
    with pytest.raises(grpc.RpcError) as refused:
        shared_cloud.peer(f"vehicle-{vehicle.vin}").operator.PublishImages(
            ota_pb2.PublishImagesRequest(), timeout=CALL_S
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_refused_publication_is_told_to_the_operator(shared_cloud: Cloud) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        shared_cloud.operator.PublishImages(
            ota_pb2.PublishImagesRequest(metadata={"targets.json": b"{}"}), timeout=CALL_S
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "publication refused: targets.json is not signed by the keys of its role" in words_of(refused.value)
