"""Signed images, Director metadata and the configuration of one ECU, for updates that need no cloud.

Images are made by imgtool, metadata by python-tuf. Keys are made for one run and deleted with its folder. An ECU that accepts these files
accepts those of a campaign.

Versions ``1.0.N`` share the major version and so the security counter: a sweep can alternate between two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bsdiff4
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.signer._crypto_signer import CryptoSigner
from tuf.api._payload import Root

from otabench.bench import ports
from otabench.bench.errors import FirmwareError
from otabench.bench.firmware import images, synthetic
from otabench.bench.firmware.images import ImageDetails
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.perf.targets import TargetsEntry, image_path, make_targets, sign
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto import image_format
from otabench.proto.image_format import Dependency
from otabench.proto.process_config import EcuConfig, EcuTiming, IsoTpConfig
from otabench.proto.uptane import VehicleEcuCustom

VIN = "W0TABENCH00000001"
REQUEST_ID, RESPONSE_ID = 0x7E0, 0x7E8
SECTOR_BYTES = 4096
MIN_BODY_BYTES = 2048
"""Smallest size of synthetic code."""


@dataclass(frozen=True)
class Material:
    """Keys and facts of one ECU, with its files below ``folder``.

    Args:
        folder: made if absent.
        slot_size_bytes: of the ECU; whole sectors.
    """

    folder: Path
    ecu: str = "engine"
    slot_size_bytes: int = 0x100000
    _image_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    _root: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    _targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)

    def __post_init__(self) -> None:
        for name in ("image", "director"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        private = self._image_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = self._image_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        key = self.folder / images.SIGNING_KEY
        key.touch(mode=0o600)
        key.write_bytes(private)
        self.keys.image_public_key.write_bytes(public)
        self.keys.director_root.write_bytes(self.director_root(1))

    def director_root(self, version: int) -> bytes:
        """Return the Director's Root. An ECU pins version 1, and follows to later ones through its metadata window."""
        root = Root(version=version, expires=_later(), consistent_snapshot=False)
        root.add_key(self._root.public_key, "root")
        # One key for all roles but root: the ECU verifies Targets only (Uptane's partial verification).
        for role in ("targets", "snapshot", "timestamp"):
            root.add_key(self._targets.public_key, role)
        return sign(root, self._root)

    @property
    def serial(self) -> str:
        return f"{self.ecu.upper()}-0001"

    @property
    def hardware_id(self) -> str:
        return f"{self.ecu}-mcu"

    @property
    def secret(self) -> str:
        """The secret of security access, in hexadecimal."""
        return hashlib.sha256(self.ecu.encode()).hexdigest()

    @property
    def keys(self) -> KeyFolder:
        """Where the keys are, as in a bench's key folder."""
        return KeyFolder(self.folder)

    def image(
        self,
        version: str,
        *,
        body_bytes: int,
        body: bytes | None = None,
        dependencies: Sequence[Dependency] = (),
    ) -> Path:
        """Return a signed image of synthetic code, or of ``body`` if it is given.

        Raises:
            FirmwareError: it does not fit the slot, or the size is too small for synthetic code.
        """
        if body is None:
            try:
                body = synthetic.build(self.hardware_id, size_bytes=body_bytes, version=images.parse_version(version))
            except ValueError as error:
                raise FirmwareError(f"firmware of {self.ecu}: {error}") from error
        out = self.folder / f"{self.hardware_id}-{version}.bin"
        made = images.pack(
            body,
            ImageDetails(
                self.ecu,
                self.hardware_id,
                version,
                dependencies=dependencies,
                rxswin=synthetic.rxswin(images.parse_version(version)),
            ),
            keys_dir=self.folder,
            out=out,
        )
        return made.path

    def patch(self, old: Path, new: Path) -> Path:
        """Return a bsdiff4 patch that makes ``new`` of ``old``."""
        out = self.folder / f"{old.stem}-{new.stem}.bsdiff"
        out.write_bytes(bsdiff4.diff(old.read_bytes(), new.read_bytes()))
        return out

    def targets(
        self,
        image: Path,
        version: str,
        *,
        number: int,
        base: Path | None = None,
        patch: Path | None = None,
        promised: Sequence[VehicleEcuCustom] = (),
    ) -> bytes:
        """Return the Director's signed Targets (version ``number``).

        Args:
            image, version: of this ECU.
            number: of the Targets.
            base, patch: the patch and the image that it starts from, if there is one.
            promised: the versions of other ECUs that the vehicle will run.
        """
        data = image.read_bytes()
        path = image_path(data, hardware_id=self.hardware_id, version=version)
        custom = {
            "ecu_serial": self.serial,
            "hardware_id": self.hardware_id,
            "version": version,
            # An ECU refuses metadata that state another counter than the image itself.
            "release_counter": image_format.parse(data).security_counter or 0,
            "patch": None if base is None or patch is None else _patch_facts(base.read_bytes(), patch.read_bytes()),
        }
        vehicle = {
            "vin": VIN,
            "job_id": f"job-{number}",
            "campaign_id": "perf",
            "vehicle": [each.model_dump() for each in promised],
        }
        entry = TargetsEntry(path, data, custom)
        return sign(make_targets([entry], custom=vehicle, version=number, expires=_later()), self._targets)

    def ecu_config(
        self,
        factory_image: Path,
        *,
        bus: dict[str, Any],
        isotp: IsoTpConfig | None = None,
        control_port: int | None = None,
        timing: EcuTiming | None = None,
    ) -> EcuConfig:
        """Return the configuration of the ECU's process."""
        return EcuConfig(
            name=self.ecu,
            vin=VIN,
            serial=self.serial,
            hardware_id=self.hardware_id,
            part_number="PERF-1",
            bus=bus,
            request_id=REQUEST_ID,
            response_id=RESPONSE_ID,
            isotp=isotp or IsoTpConfig(),
            timing=timing or EcuTiming(boot_s=0.05, security_delay_s=1.0),
            security_secret=self.secret,
            state_file=self.folder / f"{self.ecu}.flash",
            factory_image=factory_image,
            image_public_key=self.keys.image_public_key,
            director_root=self.keys.director_root,
            slot_size_bytes=self.slot_size_bytes,
            control_port=ports.free_ports(1)[0] if control_port is None else control_port,
            trace=self.folder / "trace.jsonl",
        )

    def endpoint(
        self, *, bus: dict[str, Any], isotp: IsoTpConfig | None = None, profile: str = "iso14229-ab"
    ) -> EcuEndpoint:
        """Return the ECU as the gateway reaches it."""
        return EcuEndpoint(
            name=self.ecu,
            bus=bus,
            request_id=REQUEST_ID,
            response_id=RESPONSE_ID,
            isotp=isotp or IsoTpConfig(),
            serial=self.serial,
            hardware_id=self.hardware_id,
            profile=profile,
            security_secret=self.secret,
        )

    def ecu_image(self, image: Path, version: str, *, number: int, patch: Path | None = None) -> EcuImage:
        """Return the update of this ECU to ``version``, as the agent hands it to the vehicle."""
        return EcuImage(
            ecu=self.ecu,
            version=version,
            image=image,
            image_length=image.stat().st_size,
            metadata=self.targets(image, version, number=number),
            patch=patch,
            patch_length=patch.stat().st_size if patch else 0,
        )


def whole_sectors(length: int) -> int:
    """Return the length rounded up to whole sectors. A slot has two at least."""
    return max(2, -(-length // SECTOR_BYTES)) * SECTOR_BYTES


def _later() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


def _patch_facts(base: bytes, patch: bytes) -> dict[str, object]:
    digest = hashlib.sha256(patch).hexdigest()
    return {
        "path": f"patches/{digest}/update.bsdiff",
        "length": len(patch),
        "sha256": digest,
        "base_version": str(image_format.parse(base).version),
        "base_sha256": hashlib.sha256(base).hexdigest(),
        "base_length": len(base),
    }
