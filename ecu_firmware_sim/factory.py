"""The delivery of an ECU, before its first start: its flash with the factory image, and the keys that are burnt into it.

The state file is made once, completely or not at all. From then on only the ECU changes it: a configuration that names another VIN or
serial number later has no effect.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nacl.public import PrivateKey

from otabench.ecu_firmware_sim.boot import dependencies, image
from otabench.ecu_firmware_sim.boot.boot_control import BootControl, BootControlStore
from otabench.ecu_firmware_sim.boot.bootloader import BootPolicy
from otabench.ecu_firmware_sim.boot.image import ImageRefused
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.errors import ConfigError
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import ERASED, FileBacking, NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmData, NvmStore
from otabench.ecu_firmware_sim.programming.decryption import parse_private_key
from otabench.proto import private_files, version_report
from otabench.proto.image_format import ImageVersion
from otabench.proto.key_kinds import describe
from otabench.proto.process_config import EcuConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provision:
    """The facts and keys that are pinned in the ECU."""

    policy: BootPolicy
    root: TrustedRoot
    decryption_key: PrivateKey | None = None
    report_key: Ed25519PrivateKey | None = None


def provision(config: EcuConfig) -> Provision:
    """Return what is pinned, read from the files that the configuration names. Raises ConfigError."""
    try:
        key = load_pem_public_key(read_file("image_public_key", config.image_public_key))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"image_public_key {config.image_public_key}: not a PEM public key") from error
    # One algorithm: the bootloader has no agility that could be attacked.
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"image_public_key {config.image_public_key}: a key of the kind {describe(key)}, not Ed25519")
    try:
        root = TrustedRoot.pinned(read_file("director_root", config.director_root))
    except ValueError as error:
        raise ConfigError(f"director_root {config.director_root}: {error}") from error
    return Provision(
        BootPolicy(key, config.hardware_id, config.max_boot_attempts),
        root,
        _read_decryption_key(config.decryption_key),
        _read_report_key(config.report_key),
    )


def _read_decryption_key(path: Path | None) -> PrivateKey | None:
    if path is None:
        return None
    try:
        return parse_private_key(private_files.read(path))
    except private_files.PrivateFileError as error:
        raise ConfigError(f"decryption_key {error}") from error
    except ValueError as error:
        raise ConfigError(f"decryption_key {path}: not an X25519 private key as 64 hexadecimal digits") from error


def _read_report_key(path: Path | None) -> Ed25519PrivateKey | None:
    if path is None:
        return None
    try:
        return version_report.parse_private_key(private_files.read(path))
    except private_files.PrivateFileError as error:
        raise ConfigError(f"report_key {error}") from error
    except ValueError as error:
        raise ConfigError(f"report_key {path}: not an Ed25519 private key as 64 hexadecimal digits") from error


def factory_memory(
    factory_image: bytes,
    *,
    layout: FlashLayout,
    policy: BootPolicy,
    vin: str,
    serial: str,
    versions: Mapping[int, ImageVersion] | None = None,
) -> bytearray:
    """Return a new ECU's flash: the image in slot 0, CONFIRMED, with its security counter as the minimum; the identity in NVM.

    Args:
        factory_image: signed as any other image.
        layout: of the flash.
        policy: the rules that the image must pass.
        vin: of the vehicle.
        serial: the ECU's serial number.
        versions: the versions that the factory installed in the vehicle, by image number.

    Raises:
        ConfigError: the image may not run on this ECU.
    """
    if len(factory_image) > layout.slot_bytes:
        raise ConfigError(f"factory_image: {len(factory_image)} bytes do not fit into a slot of {layout.slot_bytes}")
    # As strict as the bootloader, apart from the minimum, which this image defines.
    try:
        checked = image.check(
            factory_image, public_key=policy.public_key, hardware_id=policy.hardware_id, minimum_security_counter=0
        )
    except ImageRefused as error:
        raise ConfigError(f"factory_image: {error}") from error
    # By the same stores as in the ECU: the formats of the records are known in one place.
    flash = NorFlash(bytearray([ERASED]) * layout.total_bytes)
    flash.program(layout.slot_offset(0), factory_image)
    NvmStore(flash, layout).write(NvmData(serial=serial, vin=vin))
    BootControlStore(flash, layout).commit(
        BootControl(
            (SlotState.CONFIRMED, SlotState.EMPTY),
            0,
            minimum_security_counter=checked.security_counter or 0,
            promised=(dependencies.kept(checked, versions or {}), ()),
        )
    )
    return flash.memory


def open_state(config: EcuConfig, layout: FlashLayout, policy: BootPolicy) -> FileBacking:
    """Return the state file, made from the factory image if it does not exist. Raises ConfigError."""
    path = config.state_file
    # Only then the factory image is read: an ECU that was updated no longer depends on the file.
    if not path.exists():
        try:
            memory = factory_memory(
                read_file("factory_image", config.factory_image),
                layout=layout,
                policy=policy,
                vin=config.vin,
                serial=config.serial,
                versions=_versions(config.factory_versions),
            )
        except ConfigError as error:
            raise ConfigError(f"{error} ({config.factory_image})") from error
        write_whole(path, memory)
        log.info("state file %s made from %s", path, config.factory_image)
    return FileBacking(path, size_bytes=layout.total_bytes)


def _versions(texts: Mapping[int, str]) -> dict[int, ImageVersion]:
    try:
        return {number: ImageVersion.parse(text) for number, text in texts.items()}
    except ValueError as error:
        raise ConfigError(f"factory_versions: {error}") from error


def write_whole(path: Path, data: bytes | bytearray) -> None:
    """Make a file, completely or not at all. Raises ConfigError."""
    # In the same folder, so that ``replace`` stays within one file system and is atomic.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
            new.write(data)
            # Before the rename: after a crash of the machine, the name must not lead to an empty file.
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).replace(path)
    except OSError as error:
        raise ConfigError(f"state_file {path}: cannot be made: {error.strerror}") from error


def read_file(what: str, path: Path) -> bytes:
    """Return the contents of a file that the configuration names as ``what``. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {path}: {error.strerror}") from error
