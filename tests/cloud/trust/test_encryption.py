"""Encrypted campaigns: only the ECU that a file is for can decrypt it, and the plain image is not served anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import bsdiff4
import grpc
import pytest
from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from otabench.cloud.store.artifact_store import open_store
from otabench.cloud.trust.encryption import check_public_key, encrypt, make_key_pair
from otabench.cloud.trust.keys import init_keys
from otabench.proto import ota_pb2
from otabench.proto.encrypted_artifact import (
    CHUNK_OVERHEAD_BYTES,
    HEADER_BYTES,
    PREFIX_BYTES,
    SEALED_KEY_BYTES,
    parse_header,
)
from otabench.proto.uptane import TargetCustom
from tests.cloud.bench import ADAS, CALL_S, ENGINE, Cloud, ImageMaker, Vehicle, campaign_request, words_of
from tests.waiting import PATIENCE_S

KEYS = {"engine": PrivateKey(bytes(range(32))), "adas": PrivateKey(bytes(range(1, 33)))}
LOW_ORDER = bytes(32)

NOBODY: Final = 65534
"""The user and group without rights, on every Linux."""


def open_artifact(data: bytes, key: PrivateKey) -> bytes:
    """Return the plaintext, by the layout of docs/contracts.md."""
    header = parse_header(data)
    stream_key = SealedBox(key).decrypt(data[HEADER_BYTES : HEADER_BYTES + SEALED_KEY_BYTES])
    state = bindings.crypto_secretstream_xchacha20poly1305_state()
    bindings.crypto_secretstream_xchacha20poly1305_init_pull(
        state, data[HEADER_BYTES + SEALED_KEY_BYTES : PREFIX_BYTES], stream_key
    )
    step = header.chunk_bytes + CHUNK_OVERHEAD_BYTES
    chunks = [data[start : start + step] for start in range(PREFIX_BYTES, len(data), step)]
    opened = [
        bindings.crypto_secretstream_xchacha20poly1305_pull(state, chunk, data[:HEADER_BYTES]) for chunk in chunks
    ]
    assert [tag for _, tag in opened] == [0] * (len(chunks) - 1) + [3], "only the last chunk is marked as last"
    plain = b"".join(piece for piece, _ in opened)
    assert len(plain) == header.plaintext_bytes
    return plain


def register(cloud: Cloud, vehicle: Vehicle, **public_keys: bytes) -> None:
    """Register the vehicle with the public keys of some of its ECUs."""
    ecus = [
        ota_pb2.RegisterVehicleRequest.Ecu(
            ecu=name, serial=vehicle.serial(name), hardware_id=hardware_id, public_key=public_keys.get(name)
        )
        for name, hardware_id in vehicle.hardware.items()
    ]
    cloud.operator.RegisterVehicle(ota_pb2.RegisterVehicleRequest(vin=vehicle.vin, ecus=ecus), timeout=CALL_S)


def register_all(cloud: Cloud, vehicle: Vehicle) -> None:
    register(cloud, vehicle, **{name: bytes(key.public_key) for name, key in KEYS.items()})


def offered(
    cloud: Cloud, vehicle: Vehicle, request: ota_pb2.CreateCampaignRequest
) -> dict[str, tuple[Any, TargetCustom]]:
    """Return the campaign's manifest as the vehicle gets it: path and facts by hardware id."""
    cloud.create_campaign(request)
    told = vehicle.check_in(cloud)
    assert told.decision == ota_pb2.CheckInResponse.DECISION_UPDATE_AVAILABLE, told.reason
    manifest = vehicle.control(cloud).GetManifest(
        ota_pb2.GetManifestRequest(vin=vehicle.vin, job_id=told.job_id), timeout=CALL_S
    )
    targets = json.loads(manifest.metadata["targets.json"])["signed"]["targets"]
    found = {}
    for path, entry in targets.items():
        custom = TargetCustom.model_validate(entry["custom"])
        found[custom.hardware_id] = ({"path": path, **entry}, custom)
    return found


def fetch(cloud: Cloud, path: str) -> bytes | None:
    """Return what the artifact server serves, or None if it answers 404."""
    try:
        with urllib.request.urlopen(cloud.artifacts_url + path, timeout=CALL_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return None


def test_every_ecu_gets_its_own_file_and_only_it_can_open_it(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register_all(shared_cloud, vehicle)
    files = {ENGINE: images(ENGINE, "2.0.0", seed=70), ADAS: images(ADAS, "2.0.0", seed=71)}
    found = offered(shared_cloud, vehicle, campaign_request(vehicle, *files.items(), encrypt=True))

    for ecu, hardware_id in vehicle.hardware.items():
        entry, custom = found[hardware_id]
        image = files[hardware_id]
        assert (entry["length"], entry["hashes"]["sha256"]) == (len(image), hashlib.sha256(image).hexdigest())
        encryption = custom.encryption
        assert encryption is not None
        assert encryption.public_key == bytes(KEYS[ecu].public_key).hex()
        content = fetch(shared_cloud, encryption.path)
        assert content is not None
        assert (len(content), hashlib.sha256(content).hexdigest()) == (encryption.length, encryption.sha256)
        assert open_artifact(content, KEYS[ecu]) == image
        other = KEYS["adas" if ecu == "engine" else "engine"]
        with pytest.raises(CryptoError):
            open_artifact(content, other)


def test_the_artifact_server_does_not_serve_the_plain_files(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register_all(shared_cloud, vehicle)
    old, new = images(ENGINE, "1.0.0", counter=1, seed=72), images(ENGINE, "2.0.0", seed=72)
    vehicle.check_in(shared_cloud)
    request = campaign_request(vehicle, (ENGINE, new), encrypt=True)
    request.images[0].base_image = old
    entry, custom = offered(shared_cloud, vehicle, request)[ENGINE]

    assert custom.patch is not None
    assert custom.patch.encryption is not None
    for path in (entry["path"], custom.patch.path):
        assert fetch(shared_cloud, path) is None
        assert fetch(shared_cloud, f"private/{path}") is None
        assert fetch(shared_cloud, f"./private/{path}") is None
        assert fetch(shared_cloud, f"private//{path}") is None
    public = open_store(str(shared_cloud.config["artifact_store"]))
    private_folder = shared_cloud.folder / "state" / "private-artifacts"
    private = open_store(str(shared_cloud.config.get("private_store", private_folder.as_uri())))
    assert private.read(entry["path"]) == new
    assert public.find(entry["path"]) is None
    if "private_store" not in shared_cloud.config:
        served = {path.read_bytes() for path in (shared_cloud.folder / "artifacts").rglob("*") if path.is_file()}
        assert new not in served
        assert {path.stat().st_mode & 0o777 for path in (private_folder, private_folder.parent)} == {0o700}
    sealed = fetch(shared_cloud, custom.patch.encryption.path)
    assert sealed is not None
    patch = open_artifact(sealed, KEYS["engine"])
    assert (len(patch), hashlib.sha256(patch).hexdigest()) == (custom.patch.length, custom.patch.sha256)
    assert bsdiff4.patch(old, patch) == new


def test_a_plain_campaign_with_the_same_files_makes_them_public(
    shared_cloud: Cloud, vehicle: Vehicle, other_vehicle: Vehicle, images: ImageMaker
) -> None:
    register_all(shared_cloud, vehicle)
    register_all(shared_cloud, other_vehicle)
    old, new = images(ENGINE, "1.0.0", counter=1, seed=73), images(ENGINE, "2.0.0", seed=73)
    for each, encrypt_it in ((vehicle, True), (other_vehicle, False)):
        each.check_in(shared_cloud)
        request = campaign_request(each, (ENGINE, new), encrypt=encrypt_it)
        request.images[0].base_image = old
        entry, custom = offered(shared_cloud, each, request)[ENGINE]
        assert (custom.encryption is not None) == encrypt_it
        assert custom.patch is not None
        assert (custom.patch.encryption is not None) == encrypt_it
        assert fetch(shared_cloud, entry["path"]) == (None if encrypt_it else new)
        assert (fetch(shared_cloud, custom.patch.path) is None) == encrypt_it


def test_a_plain_campaigns_manifest_does_not_mention_encryption(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register_all(shared_cloud, vehicle)
    entry, custom = offered(shared_cloud, vehicle, campaign_request(vehicle, (ENGINE, images(ENGINE, seed=74))))[ENGINE]
    assert custom.encryption is None
    assert "encryption" not in entry["custom"]


def test_an_ecu_without_a_key_is_named_when_the_campaign_is_made(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register(shared_cloud, vehicle, engine=bytes(KEYS["engine"].public_key))
    request = campaign_request(vehicle, (ENGINE, images()), (ADAS, images(ADAS)), encrypt=True)
    with pytest.raises(grpc.RpcError) as refused:
        shared_cloud.operator.CreateCampaign(request, timeout=CALL_S)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "NO_ENCRYPTION_KEY: ECU adas" in words_of(refused.value)
    shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images()), encrypt=True))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), LOW_ORDER])
def test_an_invalid_public_key_is_refused(shared_cloud: Cloud, vehicle: Vehicle, key: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        register(shared_cloud, vehicle, engine=key)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "public key of engine" in words_of(refused.value)


def test_another_key_is_refused_while_a_job_for_the_old_one_is_open(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    register_all(shared_cloud, vehicle)
    campaign = shared_cloud.create_campaign(campaign_request(vehicle, (ENGINE, images()), encrypt=True))
    other = bytes(PrivateKey.generate().public_key)
    with pytest.raises(grpc.RpcError) as refused:
        register(shared_cloud, vehicle, engine=other, adas=bytes(KEYS["adas"].public_key))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    cancel = ota_pb2.CancelCampaignRequest(campaign_id=campaign.campaign_id, reason="new key")
    shared_cloud.operator.CancelCampaign(cancel, timeout=CALL_S)
    register(shared_cloud, vehicle, engine=other, adas=bytes(KEYS["adas"].public_key))


def test_the_key_folder_holds_a_pair_for_every_ecu(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    init_keys(folder, vins=["V1"], ecus=["engine", "adas"])
    private_keys = set()
    for name in ("engine", "adas"):
        private = folder / "ecu" / f"{name}.x25519"
        assert private.stat().st_mode & 0o777 == 0o600
        key = PrivateKey(bytes.fromhex(private.read_text()))
        assert bytes(key.public_key).hex() == (folder / "ecu" / f"{name}.x25519.pub").read_text().strip()
        private_keys.add(bytes(key))
    assert len(private_keys) == 2


@pytest.mark.parametrize(("length", "chunk_bytes"), [(1, 4096), (4096, 4096), (4097, 4096), (10_000, 300), (3, 1)])
def test_what_is_encrypted_decrypts_to_the_same(length: int, chunk_bytes: int) -> None:
    pair = make_key_pair()
    plain = bytes(range(256)) * (length // 256 + 1)
    made = encrypt(plain[:length], public_key=bytes.fromhex(pair.public_key), chunk_bytes=chunk_bytes)
    assert open_artifact(made.content, PrivateKey(bytes.fromhex(pair.private_key))) == plain[:length]
    assert parse_header(made.content).artifact_bytes == len(made.content)
    assert made.sha256 == hashlib.sha256(made.content).hexdigest()


def test_two_encryptions_for_one_ecu_share_nothing_but_the_header() -> None:
    public_key = bytes(KEYS["engine"].public_key)
    one, two = (encrypt(bytes(1000), public_key=public_key).content for _ in range(2))
    assert one[:HEADER_BYTES] == two[:HEADER_BYTES]
    assert one[HEADER_BYTES : HEADER_BYTES + 32] != two[HEADER_BYTES : HEADER_BYTES + 32]
    assert one[PREFIX_BYTES:] != two[PREFIX_BYTES:]


def test_a_key_of_low_order_is_refused() -> None:
    with pytest.raises(ValueError, match="low order"):
        check_public_key(LOW_ORDER)


# Everybody else on the machine


def readable_by_nobody(paths: Iterable[Path]) -> set[Path]:
    """Return the files that the user nobody can open."""
    script = 'while IFS= read -r path; do if (exec < "$path") 2>/dev/null; then printf "%s\\n" "$path"; fi; done'
    asked = "".join(f"{path}\n" for path in paths)
    answer = subprocess.run(
        ["/bin/sh", "-c", script],
        input=asked,
        capture_output=True,
        text=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        timeout=PATIENCE_S,
    )
    return {Path(line) for line in answer.stdout.splitlines()}


@contextmanager
def open_to_everybody(*folders: Path) -> Iterator[None]:
    """Let everybody pass through these folders and those above them, as on a machine where they are not in a tester's own folder."""
    above = {each for folder in folders for each in (folder, *folder.parents) if each.stat().st_mode & 0o001 == 0}
    modes = {each: each.stat().st_mode for each in above}
    try:
        for each in above:
            each.chmod(0o711)
        yield
    finally:
        for each, mode in modes.items():
            each.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as nobody")
def test_nobody_can_read_no_key_no_plain_image_and_no_metadata(
    shared_cloud: Cloud, vehicle: Vehicle, images: ImageMaker
) -> None:
    # given: an encrypted campaign, keys in use, and a file that is meant for everybody
    register_all(shared_cloud, vehicle)
    image = images(ENGINE, "2.0.0", seed=75)
    offered(shared_cloud, vehicle, campaign_request(vehicle, (ENGINE, image), encrypt=True))
    public = shared_cloud.folder / "public.txt"
    public.write_text("for everybody")
    public.chmod(0o644)
    keys_dir, folder = shared_cloud.keys_dir, shared_cloud.folder
    files = [path for place in (keys_dir, folder) for path in place.rglob("*") if path.is_file()]
    # when
    with open_to_everybody(keys_dir.parent, folder):
        readable = readable_by_nobody(files)
        contents = {path: path.read_bytes() for path in readable}
    # then
    assert public in readable, "otherwise nobody was kept out by something else"
    assert not {path for path in readable if keys_dir in path.parents}
    assert not {path for path in readable if folder / "state" in path.parents}
    assert not {path for path, content in contents.items() if image in content or b"PRIVATE KEY" in content}
    assert not {path for path, content in contents.items() if b'"_type"' in content}
