"""Encrypted campaigns in the gateway: which files are downloaded, what is sent to the ECU, and what its refusal means."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bsdiff4
import pytest
from nacl.public import PrivateKey

from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.flashing import UdsVehicle
from otabench.bench.gateway.jobs.planning import choose_transfers, ecu_images, expected_times, needed_bytes
from otabench.bench.gateway.trust.manifest import KnownEcu, Plan, PlannedEcu, read_plan
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds import profile as profiles
from otabench.bench.uds.errors import EcuRefused
from otabench.proto import image_format, private_files
from otabench.proto.trace import TraceWriter, read
from tests.bench.gateway.flashing.test_flashing_ecu import multicast
from tests.bench.gateway.real_ecu import RealEcu
from tests.ecu_firmware_sim.factory import VIN, ImageMaker, Keys
from tests.ecu_firmware_sim.sealing import seal

KNOWN = (KnownEcu("engine", "E1", "mcu"),)
KEY = PrivateKey(bytes(range(32)))


def encryption(path: str, digit: str, **facts: Any) -> dict[str, Any]:
    return {"path": path, "length": 1124, "sha256": digit * 64, "public_key": "0" * 64, **facts}


def targets(**changes: Any) -> bytes:
    """Return Targets of one ECU with an encrypted image and patch. ``changes`` apply to the target's custom, ``patch_…`` to the patch's."""
    patch = {"path": "p", "length": 100, "sha256": "b" * 64, "base_version": "1.0.0", "base_sha256": "d" * 64}
    patch |= {"base_length": 1000, "encryption": encryption("pe", "e", length=241)}
    patch |= {key.removeprefix("patch_"): value for key, value in changes.items() if key.startswith("patch_")}
    custom = {"ecu_serial": "E1", "hardware_id": "mcu", "version": "2.0.0", "release_counter": 2, "patch": patch}
    custom |= {"encryption": encryption("ie", "f")}
    custom |= {key: value for key, value in changes.items() if not key.startswith("patch_")}
    target = {"length": 1000, "hashes": {"sha256": "a" * 64}, "custom": custom}
    vehicle = {"vin": "V", "job_id": "j", "campaign_id": "c"}
    signed = {"expires": "2099-01-01T00:00:00+00:00", "targets": {"i": target}, "custom": vehicle}
    return json.dumps({"signed": signed}).encode()


def plan_of(**changes: Any) -> tuple[Plan, PlannedEcu]:
    plan = read_plan(targets(**changes), KNOWN)
    return plan, plan.ecus[0]


def test_only_encrypted_files_are_chosen_and_counted() -> None:
    plan, engine = plan_of()
    assert engine.is_encrypted
    assert [(t.file.path, t.is_patch) for t in choose_transfers(plan, {"engine": "1.0.0"})] == [("pe", True)]
    assert [(t.file.path, t.is_patch) for t in choose_transfers(plan, {"engine": "0.9.0"})] == [("ie", False)]
    assert needed_bytes(plan, {"engine": "1.0.0"}) == 1124 + 241
    full = choose_transfers(plan, {"engine": "0.9.0"})
    times = expected_times(full, metadata_bytes=0, bus_of={}, line_payload_bytes_per_s=1124.0)
    assert times.transfers_s == {"": {"engine": 1.0}}
    assert times.installing_s == 1.0 + times.put_into_use_s


def test_the_ecu_is_told_the_plain_image_s_size() -> None:
    plan, _ = plan_of()
    (image,) = ecu_images(plan, {"engine": "1.0.0"}, metadata=b"", path_of=lambda file: Path(file.path))
    assert (image.image, image.patch, image.is_encrypted) == (Path("ie"), Path("pe"), True)
    assert (image.image_length, image.file_length, image.patch_length) == (1000, 1124, 241)


@pytest.mark.parametrize("change", [{"patch_encryption": None}, {"encryption": None}])
def test_a_manifest_that_encrypts_only_one_of_image_and_patch_is_refused(change: dict[str, None]) -> None:
    with pytest.raises(ManifestRefused, match="only one of image and patch for engine"):
        plan_of(**change)


@pytest.mark.parametrize(
    "facts",
    [{"path": "../x"}, {"path": "/x"}, {"length": 0}, {"sha256": "short"}, {"format": "OTAE-2"}, {"public_key": "x"}],
)
def test_encryption_facts_that_are_wrong_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ManifestRefused):
        plan_of(encryption=encryption("ie", "f") | facts)


def test_a_profile_without_encrypted_formats_has_none() -> None:
    formats = profiles.load("iso14229-ab").data_format
    assert [formats.of(is_patch=p, is_encrypted=e) for e in (False, True) for p in (False, True)] == [0, 0x10, 1, 0x11]
    plain = profiles.DataFormat(full=0, patch=0x10)
    assert plain.of(is_patch=False, is_encrypted=True) is None


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


def real_engine(folder: Path, keys: Keys, *, decryption_key: Path | None) -> RealEcu:
    return RealEcu("engine", 0, folder, multicast(), keys, ImageMaker(keys), decryption_key=decryption_key)


@contextmanager
def vehicle_of(folder: Path, engine: RealEcu) -> Iterator[UdsVehicle]:
    config = GatewayConfig(
        vin=VIN,
        ecus=(engine.endpoint(),),
        state_dir=folder,
        director_root=folder / "root.json",
        cloud_grpc="127.0.0.1:1",
        timing=GatewayTiming(ecu_lost_timeout_s=5.0, soak_s=0.0),
    )
    vehicle = UdsVehicle(config, TraceWriter(folder / "gateway.jsonl", component="gateway"))
    try:
        yield vehicle
    finally:
        vehicle.close()


def stage(vehicle: UdsVehicle, image: EcuImage) -> None:
    vehicle.stage(
        [image], job_id="job-1", progress=lambda _: None, cancel=threading.Event(), fetch_image=lambda _: None
    )


def staged(engine: RealEcu) -> dict[str, Any]:
    """Return the slot that holds exactly the new image."""
    digest = image_format.parse(engine.new).tlv(image_format.TLV_SHA256) or b""
    return {"state": "STAGED", "version": "2.0.0", "digest": digest.hex()}


def test_an_ecu_without_a_key_is_told_from_a_wrong_address(tmp_path: Path, keys: Keys) -> None:
    with real_engine(tmp_path, keys, decryption_key=None) as engine, vehicle_of(tmp_path, engine) as vehicle:
        with pytest.raises(EcuRefused, match=r"NRC 31.*no key for encrypted files"):
            stage(vehicle, replace(engine.image(), is_encrypted=True))
        stage(vehicle, engine.image())
        assert engine.control(op="state")["slots"][1] == staged(engine)


def test_a_real_ecu_takes_encrypted_files_and_says_why_it_takes_one_not(tmp_path: Path, keys: Keys) -> None:
    key_file = tmp_path / "engine.x25519"
    private_files.write(key_file, bytes(KEY).hex() + "\n")
    with real_engine(tmp_path, keys, decryption_key=key_file) as engine, vehicle_of(tmp_path, engine) as vehicle:
        full = replace(engine.image(), is_encrypted=True)
        good, wrong = (seal(engine.new, key.public_key).data for key in (KEY, PrivateKey.generate()))

        full.image.write_bytes(wrong)
        with pytest.raises(EcuRefused, match=r"72.*status 09: decryption failed") as refused:
            stage(vehicle, full)
        assert (refused.value.ecu, refused.value.nrc) == ("engine", 0x72)

        plain = engine.image(bsdiff4.diff(engine.old, engine.new))
        assert plain.patch is not None
        patch = seal(plain.patch.read_bytes(), KEY.public_key).data
        plain.patch.write_bytes(patch)
        delta = replace(plain, patch_length=len(patch), is_encrypted=True)
        delta.image.write_bytes(good)
        stage(vehicle, delta)
        assert engine.control(op="state")["slots"][1] == staged(engine)
    sent = [event.data for event in read(tmp_path / "gateway.jsonl") if event.event == "flash.transfer"]
    assert [(data["kind"], data["bytes"]) for data in sent if data.get("encrypted")] == [("delta", len(patch))]
