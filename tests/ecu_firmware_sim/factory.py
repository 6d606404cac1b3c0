"""Signed images, Director metadata and whole ECUs for the tests: real keys, imgtool, python-tuf, a small flash in memory."""

from __future__ import annotations

import hashlib
import hmac
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from imgtool.main import imgtool
from nacl.public import PrivateKey
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import Root
from tuf.api.metadata import Metadata
from tuf.api.serialization.json import JSONSerializer

from otabench.bench.perf.targets import TargetsEntry, image_path, make_targets, sign
from otabench.cloud.trust.keys import raw_public
from otabench.ecu_firmware_sim.boot.bootloader import Bootloader, BootOutcome, BootPolicy
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.ecu_firmware_sim.factory import factory_memory
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SLOT_WINDOW, FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.ecu_firmware_sim.programming.verification import ProgrammingPolicy
from otabench.ecu_firmware_sim.uds.codes import Sid
from otabench.ecu_firmware_sim.uds.dtc import DtcMemory
from otabench.ecu_firmware_sim.uds.server import PendingResponse, UdsServer
from otabench.ecu_firmware_sim.uds.state import Device, Identity, Timing
from otabench.ecu_firmware_sim.uds.version_report import VersionReporter
from otabench.proto import image_format, security_algorithm
from otabench.proto.uptane import RootCustom, TimeKeys

VIN = "W0TABENCH00000001"
SERIAL = "ENG-0001"
HARDWARE_ID = "engine-mcu-a"
SECRET = bytes(range(32))
ALGORITHM = security_algorithm.load(security_algorithm.DEFAULT, secret=SECRET)
SMALL = FlashLayout(slot_bytes=0x4000, metadata_bytes=0x1000, nvm_bank_bytes=0x1000)


def key_for(seed: bytes, secret: bytes) -> bytes:
    """Return the key of the built-in algorithm, made by the test itself."""
    return hmac.new(secret, seed, hashlib.sha256).digest()


@dataclass(frozen=True)
class Keys:
    """The bench's keys: images, and the Director's root and targets role; ``stranger`` is an unknown signer."""

    folder: Path
    image: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    stranger: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    root: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    other_targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    time: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        for name, key in (("image", self.image), ("stranger", self.stranger)):
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (self.folder / f"{name}.pem").write_bytes(pem)
        public = self.image.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "image.pub.pem").write_bytes(public)
        (self.folder / "root.json").write_bytes(self.root_metadata().to_bytes())

    def next_root(
        self,
        version: int = 2,
        *,
        targets: CryptoSigner,
        root: CryptoSigner | None = None,
        before: CryptoSigner | None = None,
        time: Ed25519PrivateKey | None = None,
    ) -> bytes:
        """Return a later Root of the Director, with other Targets keys.

        Args:
            version: of it.
            targets: the role's new key.
            root: the new Root key; the same as before if it is not given.
            before: the Root key of the version before, which signs, too; by default the first one.
            time: another key that attests the time.
        """
        metadata = self.root_metadata(time)
        metadata.signed.version = version
        metadata.signed.revoke_key(self.targets.public_key.keyid, "targets")
        metadata.signed.add_key(targets.public_key, "targets")
        if root is not None:
            metadata.signed.revoke_key(self.root.public_key.keyid, "root")
            metadata.signed.add_key(root.public_key, "root")
        metadata.signatures.clear()
        for signer in (before or self.root, root or before or self.root):
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer(compact=True))

    @property
    def pinned(self) -> TrustedRoot:
        """The first Root, as an ECU pins it."""
        return TrustedRoot.pinned((self.folder / "root.json").read_bytes())

    def without_time(self) -> TrustedRoot:
        """Return a first Root that lists no time key."""
        metadata = self.root_metadata()
        del metadata.signed.unrecognized_fields["custom"]
        metadata.sign(self.root)
        return TrustedRoot.pinned(metadata.to_bytes())

    def root_metadata(self, time: Ed25519PrivateKey | None = None) -> Metadata[Root]:
        root = Root(expires=_later(), consistent_snapshot=False)
        root.add_key(self.root.public_key, "root")
        for role in ("targets", "snapshot", "timestamp"):
            root.add_key(self.targets.public_key, role)
        custom = RootCustom(time=TimeKeys(keys=(raw_public(time or self.time),)))
        root.unrecognized_fields["custom"] = custom.model_dump(mode="json")
        metadata = Metadata(root)
        metadata.sign(self.root)
        return metadata


def _later() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


class ImageMaker:
    """Makes images by imgtool, each distinct one once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._made: dict[Any, bytes] = {}

    def __call__(
        self,
        version: str,
        *,
        counter: int,
        body: bytes | None = None,
        hardware_id: str = HARDWARE_ID,
        key: str = "image",
        dependency: str | None = None,
    ) -> bytes:
        content = code(version) if body is None else body
        facts = (version, counter, content, hardware_id, key, dependency)
        if facts not in self._made:
            self._made[facts] = self._make(version, counter, content, hardware_id, key, dependency)
        return self._made[facts]

    def _make(
        self, version: str, counter: int, content: bytes, hardware_id: str, key: str, dependency: str | None
    ) -> bytes:
        source, signed = self._keys.folder / "in.bin", self._keys.folder / "out.bin"
        source.write_bytes(content)
        arguments = ["sign", "-k", str(self._keys.folder / f"{key}.pem"), "--header-size", "0x200", "--pad-header"]
        arguments += [
            "--slot-size",
            "0x100000",
            "--align",
            "8",
            "--version",
            version,
            "--security-counter",
            str(counter),
        ]
        arguments += ["--vid", "otabench", "--cid", hardware_id]
        arguments += ["--custom-tlv", "0x00a0", f"OTABENCH {version.partition('.')[0]}"]
        arguments += ["-d", dependency] if dependency is not None else []
        try:
            imgtool.main(args=[*arguments, str(source), str(signed)], standalone_mode=False)
        except click.ClickException as error:
            raise AssertionError(f"imgtool: {error}") from error
        return signed.read_bytes()


def code(version: str, size: int = 6000) -> bytes:
    """Return bytes that differ between versions in some places only, as code does."""
    common = random.Random(1).randbytes(size)
    own = random.Random(version).randbytes(300)
    return common[:1000] + own + common[1200:]


def patch_facts(old: bytes, patch: bytes, *, base_version: str = "1.0.0") -> dict[str, Any]:
    """Return the description of a patch against ``old`` in Targets."""
    return {
        "path": "patches/p",
        "length": len(patch),
        "sha256": hashlib.sha256(patch).hexdigest(),
        "base_version": base_version,
        "base_sha256": hashlib.sha256(old).hexdigest(),
        "base_length": len(old),
    }


@dataclass(frozen=True)
class Manifest:
    """Facts of one Director Targets metadata, each of which a test may falsify."""

    image: bytes
    version: int = 1
    vin: str = VIN
    serial: str = SERIAL
    hardware_id: str = HARDWARE_ID
    image_version: str = ""
    """Empty: the image's own."""
    other_hashes: dict[str, str] = field(default_factory=dict)
    """Beside SHA-256, by algorithm."""
    release_counter: int | None = None
    """None: the image's own."""
    job_id: str = "job-1"
    patch: dict[str, Any] | None = None
    versions: dict[int, str] = field(default_factory=dict)
    """The versions that it promises for the vehicle, by image number."""

    def signed(self, signer: CryptoSigner) -> bytes:
        version, counter = self._facts()
        custom = {
            "ecu_serial": self.serial,
            "hardware_id": self.hardware_id,
            "version": version,
            "release_counter": counter,
            "patch": self.patch,
        }
        path = image_path(self.image, hardware_id=self.hardware_id, version=version)
        promised = [
            {"image_number": number, "ecu": f"ecu{number}", "ecu_serial": f"S-{number}", "version": version}
            for number, version in self.versions.items()
        ]
        vehicle = {"vin": self.vin, "job_id": self.job_id, "campaign_id": "campaign-1", "vehicle": promised}
        entry = TargetsEntry(path, self.image, custom)
        targets = make_targets([entry], custom=vehicle, version=self.version, expires=_later())
        targets.targets[path].hashes |= self.other_hashes
        return sign(targets, signer)

    def _facts(self) -> tuple[str, int]:
        try:
            image = image_format.parse(self.image)
            own, own_counter = str(image.version), image.security_counter or 0
        except image_format.ImageFormatError:
            own, own_counter = "2.0.0", 2
        return self.image_version or own, own_counter if self.release_counter is None else self.release_counter


class Bench:
    """One ECU without its loop: flash in memory, bootloader, server. Time is a number that the test changes."""

    def __init__(
        self,
        keys: Keys,
        factory_image: bytes,
        *,
        layout: FlashLayout = SMALL,
        vin: str = VIN,
        ram_bytes: int = 8_000_000,
        memory: bytearray | None = None,
        decryption_key: PrivateKey | None = None,
        root: TrustedRoot | None = None,
        report_key: Ed25519PrivateKey | None = None,
        locked_services: frozenset[Sid] = frozenset(),
    ) -> None:
        self.keys = keys
        self.locked_services = locked_services
        self.root = root or keys.pinned
        self.report_key = report_key
        self.layout = layout
        self.ram_bytes = ram_bytes
        self.decryption_key = decryption_key
        self.now_s = 1000.0
        self.utc = "2026-01-01T00:00:00+00:00"
        self.policy = BootPolicy(keys.image.public_key(), HARDWARE_ID, 3)
        if memory is None:
            memory = factory_memory(factory_image, layout=layout, policy=self.policy, vin=vin, serial=SERIAL)
        self.flash = NorFlash(memory)
        self.pending = 0
        self.metadata_changes = 0

    def boot(self) -> BootOutcome:
        """Boot as after power-on: everything but the flash is new."""
        self.flash.powered = True
        storage = Storage.on(self.flash, self.layout)
        self.boot_control, self.nvm = storage.boot_control, storage.nvm
        bootloader = Bootloader(self.flash, self.layout, self.boot_control, self.policy)
        outcome = bootloader.boot()
        assert self.nvm.load() is not None
        self.dtcs = DtcMemory(self.nvm, utc=lambda: self.utc)
        self.dtcs.start_operation_cycle()
        policy = ProgrammingPolicy(self.policy, self.root, self.ram_bytes, self.decryption_key)
        self.firmware = FirmwareMemory(
            storage, policy, bootloader, running=outcome.slot, metadata_changed=self._count_metadata_change
        )
        version = str(outcome.image.version) if outcome.image is not None else "0.0.0"
        rxswin = outcome.image.rxswin if outcome.image is not None else ""
        identity = Identity(HARDWARE_ID, "PN-1", version, "boot 1", rxswin=rxswin)
        reporter = None
        if self.report_key is not None:
            reporter = VersionReporter(
                self.report_key, hardware_id=HARDWARE_ID, version=version, firmware=self.firmware, nvm=self.nvm
            )
        device = Device(
            identity,
            Timing(),
            ALGORITHM,
            self.firmware,
            self.nvm,
            self.dtcs,
            locked_services=self.locked_services,
            reporter=reporter,
        )
        self.server = UdsServer(device, in_bootloader=outcome.slot is None, now_s=self.now_s)
        return outcome

    def _count_metadata_change(self) -> None:
        self.metadata_changes += 1

    def send(self, request: bytes | str, *, functional: bool = False) -> bytes | None:
        """Return the response to a request; None: there is none. Work that may take long is done at once."""
        data = bytes.fromhex(request) if isinstance(request, str) else request
        answer = self.server.handle(data, functional=functional, now_s=self.now_s)
        if isinstance(answer, PendingResponse):
            self.pending += 1
            response = answer.final(answer.work(), announced=False)
            self.server.completed(now_s=self.now_s)
            return response
        return answer

    def ask(self, request: bytes | str) -> str:
        """Return the response to a request, which must have one, as hex."""
        response = self.send(request)
        assert response is not None, f"no response to {request!r}"
        return response.hex(" ").upper()

    def must(self, request: bytes | str) -> bytes:
        """Return the response to a request, which must be positive."""
        response = self.send(request)
        assert response is not None and response[0] != 0x7F, f"{request!r} was answered {response and response.hex()}"
        return response

    def unlock(self, session: str = "10 02") -> None:
        self.must(session)
        seed = self.must("27 01")[2:]
        self.must(b"\x27\x02" + key_for(seed, SECRET))

    def erase(self, length: int | None = None) -> bytes:
        size = self.layout.slot_bytes if length is None else length
        return self.must(b"\x31\x01\xff\x00\x44" + SLOT_WINDOW.to_bytes(4, "big") + size.to_bytes(4, "big"))

    def request_download(self, size: int, *, address: int = SLOT_WINDOW, data_format: int = 0) -> bytes:
        request = bytes((0x34, data_format, 0x44)) + address.to_bytes(4, "big") + size.to_bytes(4, "big")
        response = self.send(request)
        assert response is not None
        return response

    def transfer(self, data: bytes, *, block_bytes: int = 1000) -> None:
        for number, start in enumerate(range(0, len(data), block_bytes), start=1):
            self.must(bytes((0x36, number & 0xFF)) + data[start : start + block_bytes])

    def download_metadata(self, manifest: bytes) -> None:
        assert self.request_download(len(manifest), address=METADATA_WINDOW)[0] == 0x74
        self.transfer(manifest)
        self.must("37")

    def download_image(self, image: bytes) -> None:
        assert self.request_download(len(image))[0] == 0x74
        self.transfer(image)
        self.must("37")

    def stage(self, image: bytes, *, manifest: Manifest | None = None) -> int:
        """Perform the programming sequence up to check memory. Return its status."""
        facts = Manifest(image) if manifest is None else manifest
        return self.stage_with(image, facts.signed(self.keys.targets))

    def stage_with(self, image: bytes, window: bytes) -> int:
        """Do the same with these bytes in the metadata window."""
        self.unlock()
        self.download_metadata(window)
        self.erase()
        self.download_image(image)
        return self.must("31 01 02 02")[4]

    def trial(self, image: bytes, *, manifest: Manifest | None = None) -> BootOutcome:
        """Stage, activate and reboot."""
        assert self.stage(image, manifest=manifest) == 0
        self.must("31 01 02 10")
        return self.boot()

    @property
    def states(self) -> str:
        """The states of both slots, as "CONFIRMED EMPTY"."""
        return " ".join(state.name for state in self.boot_control.current.states)
