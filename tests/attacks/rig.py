"""A vehicle in this process to be attacked: the gateway's verification, and ECUs without a bus, of one real key folder.

Nothing of it is a double: ``init_keys`` makes the keys, ``Primary`` verifies, ``BareEcu`` boots and programs. Keys and images are made
once; each attack has a vehicle of its own, out of copies of the ECUs' memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.ecu_door import EcuDoor
from otabench.bench.attacks.forge import Forge
from otabench.bench.attacks.scene import Firmware, Pinned, Scene
from otabench.bench.firmware import images as firmware
from otabench.bench.firmware import synthetic
from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.bench.firmware.images import ImageDetails
from otabench.bench.gateway.trust.manifest import KnownEcu
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.cloud.trust.keys import init_keys
from otabench.ecu_firmware_sim.factory import provision
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.sweep.bare_ecu import BareEcu, Update, UpdateRefused
from otabench.proto.process_config import EcuConfig
from otabench.proto.version_report import open_ecu_report

VIN, OTHER_VIN = "W0TABENCH00000001", "W0TABENCH00000002"
LAYOUT = FlashLayout(slot_bytes=0x4000)
HARDWARE = {"engine": "engine-mcu-a", "adas": "adas-soc-b"}
OLDER, RUNNING, GOOD = "1.0.0", "2.0.0", "3.0.0"
_BODY_BYTES = 6000


class BarePort:
    """A ``BareEcu`` as an ``EcuPort``."""

    def __init__(self, ecu: BareEcu) -> None:
        self.ecu = ecu

    def exchange(self, request: bytes) -> bytes:
        try:
            return self.ecu.ask(request)
        except UpdateRefused as refused:
            return refused.answer


class Workshop:
    """Keys, images and ECUs in their factory state, made once for all attacks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys_dir = folder / "keys"
        init_keys(self.keys_dir, vins=[VIN, OTHER_VIN], ecus=HARDWARE)
        self._stranger = folder / "stranger"
        (self._stranger / "image").mkdir(parents=True)
        other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = self._stranger / firmware.SIGNING_KEY
        key.touch(mode=0o600)
        key.write_bytes(other)
        self._made: dict[tuple[str, str, bool], Firmware] = {}
        self.updates = {ecu: self._update(ecu) for ecu in HARDWARE}
        self.memories = {ecu: update.factory_state() for ecu, update in self.updates.items()}
        # Makes the supplier's key, as the first publication does.
        good = self.image("engine", GOOD)
        listed = ListedImage(HARDWARE["engine"], GOOD, good.content, good.release_counter)
        OfflineRepository(self.keys_dir / "image_repository").add([listed])

    def image(self, ecu: str, version: str, *, is_genuine: bool = True) -> Firmware:
        """Return an image, signed with the firmware key or with a stranger's."""
        wanted = (ecu, version, is_genuine)
        if wanted not in self._made:
            made = firmware.pack(
                synthetic.build(HARDWARE[ecu], size_bytes=_BODY_BYTES, version=firmware.parse_version(version)),
                ImageDetails(ecu, HARDWARE[ecu], version),
                keys_dir=self.keys_dir if is_genuine else self._stranger,
                out=self.folder / f"{ecu}-{version}-{is_genuine}.bin",
            )
            self._made[wanted] = Firmware(version, made.path.read_bytes(), made.security_counter)
        return self._made[wanted]

    def ecu(self, name: str) -> BareEcu:
        """Return an ECU that has just left the factory, booted."""
        ecu = BareEcu(self.updates[name], self.memories[name])
        ecu.boot()
        return ecu

    def secret(self, ecu: str) -> str:
        return (self.keys_dir / "ecu" / f"{ecu}.secret").read_text(encoding="ascii").strip()

    def _update(self, ecu: str) -> Update:
        keys = KeyFolder(self.keys_dir)
        config = EcuConfig(
            name=ecu,
            vin=VIN,
            serial=f"{ecu.upper()}-0001",
            hardware_id=HARDWARE[ecu],
            part_number="P-1",
            bus={},
            request_id=0x7E0,
            response_id=0x7E8,
            security_secret=self.secret(ecu),
            state_file=self.folder / f"{ecu}.flash",
            factory_image=self.folder / "unused",
            image_public_key=keys.image_public_key,
            director_root=keys.director_root,
            decryption_key=keys.decryption_key(ecu),
            report_key=self.keys_dir / "ecu" / f"{ecu}.ed25519",
            slot_size_bytes=LAYOUT.slot_bytes,
            control_port=1,
        )
        old, new = self.image(ecu, RUNNING).content, self.image(ecu, GOOD).content
        return Update(config, provision(config), LAYOUT, old, new, {}, b"")


@dataclass
class Vehicle:
    """One vehicle to be attacked, and its scene."""

    workshop: Workshop
    folder: Path
    cloud: CloudDoor | None = None
    ecus: dict[str, BareEcu] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ecus = {name: self.workshop.ecu(name) for name in HARDWARE}
        doors = {name: self._door(name) for name in HARDWARE}
        keys, workshop = KeyFolder(self.workshop.keys_dir), self.workshop
        known = tuple(
            KnownEcu(name, door.serial, door.hardware_id, metadata_bytes=LAYOUT.metadata_bytes)
            for name, door in doors.items()
        )
        self.scene = Scene(
            pinned=Pinned(VIN, known, keys.director_root, keys.image_root),
            trusted=self.folder / "trusted",
            downloads=self.folder / "downloads",
            forge=Forge(workshop.keys_dir, vin=VIN),
            target=doors["engine"],
            other=doors["adas"],
            good=workshop.image("engine", GOOD),
            older=workshop.image("engine", OLDER),
            make_image=lambda version, genuine: workshop.image("engine", version, is_genuine=genuine),
            cloud=self.cloud,
            memory={"base": workshop.image("engine", RUNNING).content, "ecu_keys": workshop.keys_dir / "ecu"},
        )

    def update_honestly(self) -> None:
        """Bring the target to the good version, as the honest cloud and gateway would."""
        scene, ecu = self.scene, self.ecus["engine"]
        accepted = scene.accept()
        scene.target.program(accepted.window, scene.good.content)
        ecu.activate()
        ecu.boot()
        ecu.confirm()
        assert ecu.running_version == scene.good.version

    def attack_reported_by(self, door: EcuDoor | None) -> str:
        """Return the attack that an ECU's signed version report names; empty: none."""
        assert door is not None
        key = (self.workshop.keys_dir / "ecu" / f"{door.name}.ed25519.pub").read_text(encoding="ascii")
        sealed = door.ask(b"\x31\x01\x02\x20" + bytes(16))[4:]
        return open_ecu_report(sealed, Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.strip()))).attack

    def _door(self, name: str) -> EcuDoor:
        config = self.workshop.updates[name].config
        return EcuDoor(
            name, config.hardware_id, config.serial, bytes.fromhex(config.security_secret), BarePort(self.ecus[name])
        )
