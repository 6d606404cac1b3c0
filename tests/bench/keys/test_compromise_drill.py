"""A key-compromise drill: a thief has every online key, and the fleet replaces them all while a vehicle is away for three Roots.

Cloud, gateway and ECU are their own code, joined without a network: what GetManifest would deliver goes to the Primary, and what the
gateway would transfer goes to the ECU.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.gateway.trust.primary import Primary
from otabench.bench.keys import ceremony
from otabench.bench.keys.folders import Folders
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import Slot, SlotState
from otabench.cloud.trust.director import Director, TargetEntry
from otabench.cloud.trust.image_metadata import check_publication, sign_snapshot
from otabench.cloud.trust.keyring import open_director_keys, open_image_repository_keys
from otabench.cloud.trust.keys import init_keys
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.proto import image_format
from otabench.proto.uptane import ManifestCustom, TargetCustom
from tests.ecu_firmware_sim.factory import HARDWARE_ID, SERIAL, VIN, Bench, ImageMaker, Keys

HIGHEST = 2**31 - 1
ROOMY = FlashLayout(slot_bytes=0x4000, metadata_bytes=0x4000)
REFUSED = 6


@dataclass
class Cloud:
    """What a cloud signs with the keys of one folder; the thief has one of his own."""

    online: Path
    published: dict[str, bytes]
    """The Image repository's Targets."""

    def __post_init__(self) -> None:
        self.director = Director(open_director_keys(self.online))
        images = open_image_repository_keys(self.online)
        assert images is not None
        self.images = images

    def manifest(self, image: bytes, *, version: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return the metadata of both repositories that name an image."""
        facts = image_format.parse(image)
        listed = ListedImage(HARDWARE_ID, str(facts.version), image, facts.security_counter or 0)
        custom = TargetCustom(
            ecu_serial=SERIAL,
            hardware_id=HARDWARE_ID,
            version=listed.version,
            release_counter=listed.release_counter,
        )
        entry = TargetEntry(listed.path, len(image), listed.path.split("/")[1], custom)
        signed = self.director.sign(
            version=version,
            expires_at=time.time() + 3600,
            custom=ManifestCustom(vin=VIN, job_id="job", campaign_id="campaign"),
            targets=[entry],
        )
        by_role = {"timestamp": signed.timestamp, "snapshot": signed.snapshot, "targets": signed.targets}
        keys, now = self.images.current(), datetime.now(UTC)
        targets = check_publication(keys.root, self.published, current={}, now=now)
        return (
            {**self.director.root_files_for(by_role), **signed.files()},
            {**keys.root_files, **targets, **sign_snapshot(keys, targets, version=version, now=now)},
        )


class Vehicle:
    """A gateway with one ECU, which pinned the first Roots."""

    def __init__(self, folder: Path, online: Path, ecu: Bench) -> None:
        roots = folder / "pinned"
        roots.mkdir()
        for name in ("director", "image_repository"):
            shutil.copy(online / name / "root.json", roots / f"{name}.json")
        self.primary = Primary(
            vin=VIN,
            known=[KnownEcu("engine", SERIAL, HARDWARE_ID, metadata_bytes=ROOMY.metadata_bytes)],
            director_root=roots / "director.json",
            image_root=roots / "image_repository.json",
            metadata_dir=folder / "state",
        )
        self.ecu = ecu

    def accept(self, metadata: tuple[dict[str, bytes], dict[str, bytes]]) -> bytes:
        """Verify a manifest as the gateway does, and return what the ECU receives."""
        slot = Slot(SlotState.CONFIRMED, "1.0.0", 1)
        identity = EcuIdentity("engine", SERIAL, HARDWARE_ID, "1.0.0", 0, 0, (slot, slot))
        director, image = metadata
        return self.primary.accept(director, image_metadata=image, job_id="job", identities={"engine": identity}).window


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> ImageMaker:
    return ImageMaker(Keys(tmp_path_factory.mktemp("image-keys")))


def test_all_online_keys_are_stolen_and_replaced_while_a_vehicle_is_away(firmware: ImageMaker, tmp_path: Path) -> None:
    folders = Folders(offline=tmp_path / "offline", online=tmp_path / "online")
    init_keys(folders.online, offline=folders.offline, vins=[VIN], ecus=["engine"])
    assert folders.offline is not None
    factory, second, third = (firmware(f"{number}.0.0", counter=number) for number in (1, 2, 3))
    listed = [ListedImage(HARDWARE_ID, f"{n}.0.0", image, n) for n, image in ((2, second), (3, third))]
    cloud = Cloud(folders.online, OfflineRepository(folders.offline / "image_repository").add(listed))
    pinned = TrustedRoot.pinned((folders.online / "director/root.json").read_bytes())
    ecu = Bench(firmware._keys, factory, layout=ROOMY, root=pinned)
    ecu.boot()
    vehicle = Vehicle(tmp_path, folders.online, ecu)
    # given: a vehicle that works, and a thief with every key that the cloud has
    assert ecu.stage_with(second, vehicle.accept(cloud.manifest(second, version=7))) == 0
    shutil.copytree(folders.online, tmp_path / "stolen")
    thief = Cloud(tmp_path / "stolen", cloud.published)
    # and: the thief has blocked every later update, in the gateway and in the ECU
    assert ecu.stage_with(second, vehicle.accept(thief.manifest(second, version=HIGHEST))) == 0
    with pytest.raises(ManifestRefused) as blocked:
        vehicle.accept(cloud.manifest(third, version=8))
    assert blocked.value.kind is RefusalKind.ROLLBACK

    # when: all online keys are replaced, three times over, while the vehicle is away
    for _ in range(3):
        ceremony.rotate(folders, ceremony.parse_roles([ceremony.ALL_ONLINE]))

    # then: the vehicle follows three Roots, the old versions count no more, and the update works
    window = vehicle.accept(cloud.manifest(third, version=8))
    assert ecu.stage_with(third, window) == 0
    ecu.boot()
    assert ecu.nvm.current.root is not None
    assert (ecu.nvm.current.root.version, ecu.nvm.current.manifest_version) == (4, 8)
    # and: what the stolen keys sign is refused by gateway and ECU, with and without the true Roots
    for roots in ({}, {path.name: path.read_bytes() for path in (folders.online / "director").glob("*.root.json")}):
        director, image = thief.manifest(third, version=HIGHEST)
        with pytest.raises(ManifestRefused) as refused:
            vehicle.accept(({**roots, **director}, image))
        assert refused.value.kind is RefusalKind.ARBITRARY_SOFTWARE
        assert ecu.stage_with(third, director["targets.json"]) == REFUSED
    # and: the honest cloud goes on
    assert ecu.stage_with(third, vehicle.accept(cloud.manifest(third, version=9))) == 0
