"""Read verified Targets as a ``Plan``, and judge whether this vehicle may install it.

``primary`` has verified the signatures before. This module uses neither files nor network nor a clock. It applies these rules and raises
``ManifestRefused`` with the first that is broken:

1. The vehicle's part (``proto.uptane.ManifestCustom``) is present and well-formed, and so is the part of every target.
2. The manifest is for this VIN and this job.
3. Every target is for an ECU that was provisioned here, by serial number and hardware id. No ECU appears twice.
4. The ECU that answers on the bus is the ECU that was provisioned.
5. The image's release counter is not lower than that of the active slot (rollback attack), and its version is newer, in the order of this
   ECU's versions (``proto.version_order``). A program file has no counter. Neither is known for an ECU in its bootloader (active slot
   INVALID, version 0.0.0). The bootloader itself checks what it accepts.
6. Paths stay below the artifact server's base, and every file has a SHA-256.
7. If an image is encrypted for its ECU, its patch is encrypted, too. A plain patch would reveal parts of the image to the gateway.

``vehicle_versions`` judges the statements about the whole vehicle (rules 8 and 9). One more rule is here:

10. An ECU gets what its flash profile sends: an MCUboot image, or a program file whose format and segments are stated, in the memory that
    the profile names. A patch is only for an ECU that takes patches.

``downloads`` checks length and digest of the files, and the ECUs verify the images, as far as they can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from otabench.bench.gateway.errors import ManifestRefused, RefusalKind
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import SlotState
from otabench.proto.image_format import Dependency, ImageVersion
from otabench.proto.uptane import (
    MANIFEST_CUSTOM_KEY,
    EncryptionCustom,
    ManifestCustom,
    PatchCustom,
    PayloadCustom,
    TargetCustom,
    first_outside,
)
from otabench.proto.version_order import SEMVER, VersionRule

COMPUTABLE_HASHES: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b"})
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class KnownEcu:
    """The provisioned facts of one ECU."""

    name: str
    serial: str
    hardware_id: str
    takes_programs: bool = False
    """Whether its flash profile sends program files instead of MCUboot images."""
    takes_patches: bool = True
    versions: VersionRule = SEMVER
    memory: tuple[tuple[int, int], ...] = ()
    """Where a program file may have data: first addresses and those behind the last. Empty: anywhere."""
    metadata_bytes: int | None = None
    """The size of its metadata window. None: it does not receive the Targets."""


@dataclass(frozen=True)
class RemoteFile:
    """One file on the artifact server, with the length and digest that it must have."""

    path: str
    length: int
    sha256: str
    other_hashes: tuple[tuple[str, str], ...] = ()
    """Further digests that it must have: algorithm and hexadecimal digits."""


@dataclass(frozen=True)
class PlannedPatch:
    """A patch that rebuilds the target's image from ``base_version``."""

    file: RemoteFile
    """The file to download: the patch, or the encrypted file that contains it."""
    base_version: str


@dataclass(frozen=True)
class PlannedEcu:
    """The image that one ECU is to run."""

    ecu: str
    serial: str
    hardware_id: str
    version: str
    release_counter: int
    image: RemoteFile
    patch: PlannedPatch | None
    encrypted_image: RemoteFile | None = None
    """In an encrypted campaign: the file to download instead of ``image``. ``patch`` is encrypted then, too."""
    dependencies: tuple[Dependency, ...] = ()
    """The image's dependencies, from the manifest. The gateway cannot read them from an encrypted image."""
    payload: PayloadCustom | None = None
    """What is in a program file. None: this is an MCUboot image."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the ECU receives its image or patch encrypted."""
        return self.encrypted_image is not None

    @property
    def download(self) -> RemoteFile:
        """The file of the full image that is downloaded and sent to the ECU."""
        return self.encrypted_image or self.image


@dataclass(frozen=True)
class Plan:
    """A well-formed manifest."""

    custom: ManifestCustom
    expires_at: float
    """Seconds since 1970, UTC."""
    ecus: tuple[PlannedEcu, ...]


def read_plan(targets: bytes, known: Iterable[KnownEcu]) -> Plan:
    """Read the signed Targets: rules 1, 3 (known ECU), 6 and 7.

    Args:
        targets: the contents of ``targets.json``, whose signatures were verified.
        known: the vehicle's provisioned ECUs.

    Raises:
        ManifestRefused: the manifest breaks one of these rules.
    """
    by_serial = {ecu.serial: ecu for ecu in known}
    try:
        signed = json.loads(targets)["signed"]
        expires_at = datetime.fromisoformat(signed["expires"]).timestamp()
        entries: dict[str, Any] = signed["targets"]
        # Rule 1: the vehicle's part, and the part of every target below.
        custom = ManifestCustom.model_validate(signed[MANIFEST_CUSTOM_KEY])
        parts = [(path, entry, TargetCustom.model_validate(entry["custom"])) for path, entry in entries.items()]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ManifestRefused(f"its custom field {where} is wrong: {first['msg']}") from error
    except KeyError as error:
        raise ManifestRefused(f"the field {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestRefused(f"it is not Targets metadata: {error}") from error
    if not parts:
        raise ManifestRefused("it does not contain an image")
    return Plan(
        custom=custom,
        expires_at=expires_at,
        ecus=tuple(_planned(path, entry, part, by_serial) for path, entry, part in parts),
    )


def judge_plan(
    plan: Plan, *, vin: str, job_id: str, known: Iterable[KnownEcu], identities: Mapping[str, EcuIdentity]
) -> None:
    """Judge the plan against this vehicle, this job and what the ECUs run now: rules 2 to 5.

    Raises:
        ManifestRefused: the plan breaks one of these rules.
    """
    # Rule 2: this vehicle and this job. Otherwise a manifest of another vehicle, or of an earlier job, could be replayed.
    if plan.custom.vin != vin:
        raise ManifestRefused(f"it is for vehicle {plan.custom.vin}, this is {vin}", kind=RefusalKind.OTHER_VEHICLE)
    if plan.custom.job_id != job_id:
        raise ManifestRefused(f"it belongs to job {plan.custom.job_id}, not to {job_id}", kind=RefusalKind.OTHER_JOB)
    provisioned = {ecu.name: ecu for ecu in known}
    seen: set[str] = set()
    for planned in plan.ecus:
        # Uptane: no ECU identifier may occur twice in the Targets.
        if planned.ecu in seen:
            raise ManifestRefused(
                f"it names ECU {planned.ecu} (serial {planned.serial}) twice", kind=RefusalKind.ECU_TWICE
            )
        seen.add(planned.ecu)
        _judge_ecu(planned, provisioned[planned.ecu], identities.get(planned.ecu))


def _judge_ecu(planned: PlannedEcu, known: KnownEcu, identity: EcuIdentity | None) -> None:
    name = planned.ecu
    # Rule 3: the image is for the provisioned hardware. Its serial number is known, because ``read_plan`` found the ECU by it.
    if planned.hardware_id != known.hardware_id:
        raise ManifestRefused(
            f"its image for {name} is for hardware {planned.hardware_id}, {name} is {known.hardware_id}",
            kind=RefusalKind.OTHER_HARDWARE,
        )
    if identity is None:
        raise ManifestRefused(f"what {name} runs is not known")
    # An ECU may have been replaced since it was provisioned. Its secrets and keys are then those of another ECU.
    if (identity.serial, identity.hardware_id) != (known.serial, known.hardware_id):
        raise ManifestRefused(
            f"{name} reports serial {identity.serial} ({identity.hardware_id}), but {known.serial} ({known.hardware_id}) was provisioned",
            kind=RefusalKind.OTHER_ECU,
        )
    _judge_payload(planned, known)
    # Rule 5: neither the release counter nor the version may go back.
    running = identity.active
    has_counter = planned.payload is None and running.state is not SlotState.INVALID
    if has_counter and planned.release_counter < running.security_counter:
        raise ManifestRefused(
            f"its image for {name} has release counter {planned.release_counter}, "
            f"lower than {running.security_counter} of the active slot",
            kind=RefusalKind.ROLLBACK,
        )
    try:
        known.versions.check(planned.version)
        is_newer = known.versions.is_newer(planned.version, than=identity.software_version)
    except ValueError as error:
        raise ManifestRefused(f"{name}: {error}") from error
    if not is_newer:
        raise ManifestRefused(
            f"its image for {name} is {planned.version}, {name} runs {identity.software_version} already",
            kind=RefusalKind.ROLLBACK,
        )


def _judge_payload(planned: PlannedEcu, known: KnownEcu) -> None:
    # Rule 10: what the flash profile sends. Otherwise header and signature would be programmed as code, or a text as bytes.
    if known.takes_programs and planned.payload is None:
        raise ManifestRefused(f"its image for {planned.ecu} is an MCUboot image, {planned.ecu} takes program files")
    if planned.payload is not None and not known.takes_programs:
        raise ManifestRefused(
            f"its image for {planned.ecu} is a program file ({planned.payload.format}), {planned.ecu} takes MCUboot images"
        )
    if planned.payload is not None and (outside := first_outside(planned.payload, known.memory)):
        raise ManifestRefused(f"its program file for {planned.ecu} has data outside the memory, at {outside}")
    if planned.patch is not None and not known.takes_patches:
        raise ManifestRefused(f"it has a patch for {planned.ecu}, which does not take patches")


def _planned(
    path: str, entry: Mapping[str, Any], custom: TargetCustom, by_serial: Mapping[str, KnownEcu]
) -> PlannedEcu:
    known = by_serial.get(custom.ecu_serial)
    # Rule 3: only provisioned ECUs.
    if known is None:
        raise ManifestRefused(
            f"it names ECU serial {custom.ecu_serial}, which this vehicle does not have", kind=RefusalKind.UNKNOWN_ECU
        )
    # This vehicle requires SHA-256. Uptane requires that a file has every other hash that is listed, too.
    hashes = entry.get("hashes")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    patch = custom.patch
    # Rule 7: encrypt both or none.
    if patch is not None and (patch.encryption is None) != (custom.encryption is None):
        raise ManifestRefused(f"it encrypts only one of image and patch for {known.name}")
    return PlannedEcu(
        ecu=known.name,
        serial=custom.ecu_serial,
        hardware_id=custom.hardware_id,
        version=custom.version,
        release_counter=custom.release_counter,
        image=replace(_file(path, entry.get("length"), sha256), other_hashes=_other_hashes(path, hashes)),
        patch=None
        if patch is None
        else PlannedPatch(_facts(patch.encryption or patch), base_version=patch.base_version),
        dependencies=tuple(Dependency(each.image_number, ImageVersion.parse(each.version)) for each in custom.requires),
        encrypted_image=_facts(custom.encryption) if custom.encryption is not None else None,
        payload=custom.payload,
    )


def _other_hashes(path: str, hashes: object) -> tuple[tuple[str, str], ...]:
    """Return the hashes beside SHA-256. Refuse one that cannot be computed: it would count as right unseen."""
    others = {name: digest for name, digest in hashes.items() if name != "sha256"} if isinstance(hashes, dict) else {}
    for name in others:
        if name not in COMPUTABLE_HASHES:
            raise ManifestRefused(
                f"{path}: its hash {name} cannot be computed here", kind=RefusalKind.MALFORMED_METADATA
            )
    return tuple(sorted(others.items()))


def _facts(custom: EncryptionCustom | PatchCustom) -> RemoteFile:
    return _file(custom.path, custom.length, custom.sha256)


def _file(path: str, length: object, sha256: object) -> RemoteFile:
    # The path becomes part of a URL. It must not lead to another folder or another host.
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or ":" in parts[0]
        or "\\" in path
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ManifestRefused(f"its path {path!r} leads out of the artifact server's folder")
    # The downloader reads at most this many bytes, so it must be there (endless data attack).
    if not isinstance(length, int) or length < 1:
        raise ManifestRefused(f"{path}: its length {length!r} is not a positive number")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ManifestRefused(f"{path}: it has no SHA-256")
    return RemoteFile(path, length, sha256)
