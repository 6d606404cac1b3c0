"""Build firmware images for the bench's ECUs, pack a user's own binary into an image, and read images.

    files = build(topology, keys_dir=Path("keys"), out_dir=Path("firmware"), versions=("1.0.0", "2.0.0"))
    files["engine"]["2.0.0"].path

The format is MCUboot's. Only imgtool writes it, in this process; contents come from ``firmware.synthetic``.

Rules:

* The security counter is the major version by default: after a major release an ECU refuses images of older ones.
* A dependency is given by ECU name (``adas>=2.0.0``) and written with that ECU's image number. Image 0 is the ECU that the image is
  for, and means the version that it runs before the update.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from otabench.bench.errors import FirmwareError, UnknownName, WrongUsage
from otabench.bench.firmware import ecu_facts, program_files, synthetic
from otabench.bench.firmware import versions as firmware_versions
from otabench.bench.firmware.program_files import ProgramDetails
from otabench.bench.topology.entries import EcuEntry
from otabench.bench.topology.model import Topology
from otabench.bench.uds.flash_profiles import ProfileFacts
from otabench.proto import image_format
from otabench.proto.image_format import (
    MAX_DEPENDENCIES,
    OWN_IMAGE,
    VENDOR,
    Dependency,
    Image,
    ImageFormatError,
    ImageVersion,
)
from otabench.proto.key_kinds import describe as describe_key
from otabench.proto.program_format import NotAProgram, ProgramFormat, recognize
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import SEMVER, VersionOrder, path_part

HEADER_SIZE: Final = 0x200
SLOT_SIZE_BYTES: Final = 0x100000
ALIGN_BYTES: Final = 8
BENCH_VERSIONS: Final = ("1.0.0", "2.0.0")
SIGNING_KEY: Final = Path("image/signing.pem")
"""Path below a keys folder."""


@dataclass(frozen=True)
class FirmwareFile:
    """One image on disk."""

    ecu: str
    hardware_id: str
    version: str
    path: Path
    length_bytes: int
    security_counter: int
    """0 for a program file, which has none."""
    payload: PayloadCustom | None = None
    """What is in a program file. None: this is an MCUboot image."""


@dataclass(frozen=True)
class ImageDetails:
    """What an image's header and signed fields state about its binary.

    Attributes:
        ecu: the ECU's name, for messages.
        hardware_id, version: what it is for, and what it is.
        slot_size_bytes: of the slot that it must fit.
        security_counter: None: the major version.
        dependencies: versions of other ECUs that it requires.
        rxswin: of the type-approved software that it is part of; empty: it has none.
    """

    ecu: str
    hardware_id: str
    version: str
    slot_size_bytes: int = SLOT_SIZE_BYTES
    security_counter: int | None = None
    dependencies: Sequence[Dependency] = ()
    rxswin: str = ""


def parse_version(text: str) -> ImageVersion:
    """Return a version as ``2.0.1`` or ``2.0.1+5``.

    Raises:
        WrongUsage: the text has another form.
    """
    try:
        return ImageVersion.parse(text)
    except ValueError as error:
        raise WrongUsage(str(error)) from error


def build(
    topology: Topology,
    *,
    keys_dir: Path,
    out_dir: Path,
    versions: tuple[str, ...] = BENCH_VERSIONS,
    ecus: tuple[str, ...] = (),
    size_bytes: int | None = None,
    requires: Sequence[str] = (),
) -> dict[str, dict[str, FirmwareFile]]:
    """Build images for ECUs of the bench, as ``out_dir/<hardware id>-<version>.bin``; for an ECU that takes program files, as ``.hex``.

    Args:
        topology: hardware ids and sizes of the ECUs.
        keys_dir: a folder made by `otabench keys init`.
        out_dir: made if absent; files in it are overwritten.
        versions: the versions to build.
        ecus: names of ECUs; empty: all.
        size_bytes: size of the binary; None: the bench file's.
        requires: dependencies of each of these images, see ``parse_requirements``.

    Returns:
        By ECU name, then by version.

    Raises:
        FirmwareError: an unknown ECU, a version, size or dependency that does not fit, or a key or folder that cannot be used.
    """
    made: dict[str, dict[str, FirmwareFile]] = {}
    for name in ecus or tuple(topology.ecus):
        entry = topology.ecus.get(name)
        if entry is None:
            raise UnknownName("ECU", name, topology.ecus, where="in the bench file")
        dependencies = parse_requirements(requires, ecu=name, topology=topology)
        facts = ecu_facts.of(topology, name)
        if dependencies and facts.payload == "raw":
            raise WrongUsage(f"--requires: {name} takes program files, which do not have it; name other ECUs by --ecu")
        made[name] = {}
        for place, version in enumerate(versions):
            if facts.payload == "raw":
                made[name][version] = _build_program(
                    name, entry, facts, version=version, place=place, size_bytes=size_bytes, out_dir=out_dir
                )
                continue
            contents = _contents(
                name, entry.hardware_id, size_bytes=size_bytes or entry.image_size_bytes, version=version
            )
            details = ImageDetails(name, entry.hardware_id, version, entry.slot_size_bytes, dependencies=dependencies)
            details = replace(details, rxswin=synthetic.rxswin(parse_version(version)))
            out = out_dir / f"{entry.hardware_id}-{version}.bin"
            made[name][version] = pack(contents, details, keys_dir=keys_dir, out=out)
    return made


def _build_program(
    ecu: str,
    entry: EcuEntry,
    facts: ProfileFacts,
    *,
    version: str,
    place: int,
    size_bytes: int | None,
    out_dir: Path,
) -> FirmwareFile:
    """Return a generated program file for an ECU that is no MCUboot target."""
    rule = facts.versions.rule
    details = ProgramDetails(
        ecu,
        entry.hardware_id,
        firmware_versions.generated(rule, ecu, version, place=place),
        rule,
        address=facts.address,
        driver_address=facts.driver_address,
    )
    binary = _contents_of_any_version(ecu, entry.hardware_id, size_bytes or entry.image_size_bytes, version)
    out = out_dir / f"{entry.hardware_id}-{path_part(version)}.hex"
    packed = program_files.write_synthetic(binary, details, out=out)
    return FirmwareFile(
        ecu=ecu,
        hardware_id=details.hardware_id,
        version=details.version,
        path=packed.path,
        length_bytes=packed.length_bytes,
        security_counter=0,
        payload=packed.statement.payload,
    )


def _contents(ecu: str, hardware_id: str, *, size_bytes: int, version: str) -> bytes:
    parsed = parse_version(version)
    try:
        return synthetic.build(hardware_id, size_bytes=size_bytes, version=parsed)
    except ValueError as error:
        raise FirmwareError(f"firmware of {ecu}: {error}") from error


def _contents_of_any_version(ecu: str, hardware_id: str, size_bytes: int, version: str) -> bytes:
    """Return a generated binary for a version of any order."""
    try:
        return _contents(ecu, hardware_id, size_bytes=size_bytes, version=version)
    except WrongUsage:
        # The generator builds releases of MCUboot's versions only.
        return program_files.varied(_contents(ecu, hardware_id, size_bytes=size_bytes, version="1.0.0"), version)


def parse_requirements(texts: Sequence[str], *, ecu: str, topology: Topology) -> tuple[Dependency, ...]:
    """Return the dependencies of an image for ``ecu``; each text as ``adas>=2.0.0``.

    Raises:
        WrongUsage: a text has another form, an ECU is not in the bench file, or there are too many.
    """
    found = []
    for text in texts:
        given = re.fullmatch(r"\s*([^\s<>=]+)\s*>=\s*(\S+)\s*", text)
        if given is None:
            raise WrongUsage(f"--requires {text!r}: expected ECU>=VERSION, such as adas>=2.0.0 (in quotes)")
        other, version = given.groups()
        if other not in topology.ecus:
            raise UnknownName("ECU", other, topology.ecus, where="in the bench file")
        order = ecu_facts.of(topology, other).versions.order
        if order is not VersionOrder.SEMVER:
            raise WrongUsage(f"--requires {text!r}: versions of {other} have the order {order}; a minimum needs semver")
        # a dependency on the ECU itself: the version that it must run before this update
        number = OWN_IMAGE if other == ecu else topology.image_number_of(other)
        found.append(Dependency(number, parse_version(version)))
    if len(found) > MAX_DEPENDENCIES:
        raise WrongUsage(
            f"--requires: {len(found)} dependencies are more than the {MAX_DEPENDENCIES} that an ECU accepts"
        )
    return tuple(found)


def pack(body: bytes, details: ImageDetails, *, keys_dir: Path, out: Path) -> FirmwareFile:
    """Pack a binary into a signed MCUboot image.

    Raises:
        FirmwareError: the binary is empty or too large for the slot, the security counter is not one of 32 bits, there is no
            signing key, or the file cannot be written.
    """
    version, ecu = parse_version(details.version), details.ecu
    if SEMVER.is_no_software(str(version)):
        raise WrongUsage(f"version {version}: it stands for an ECU that runs nothing; choose another one")
    counter = version.major if details.security_counter is None else details.security_counter
    if not body:
        raise FirmwareError(f"firmware of {ecu}: the binary is empty; give a file with contents")
    if not 0 <= counter <= image_format.MAX_SECURITY_COUNTER:
        raise FirmwareError(
            f"firmware of {ecu}: security counter {counter}: expected 0 to {image_format.MAX_SECURITY_COUNTER}, it has 32 bits"
        )
    if problem := image_format.rxswin_problem(details.rxswin):
        raise WrongUsage(problem)
    key = keys_dir / SIGNING_KEY
    try:
        if not key.is_file():
            raise FirmwareError(f"{key}: there is no image signing key; `otabench keys init {keys_dir}` makes one")
        require_signing_key(key)
        out.parent.mkdir(parents=True, exist_ok=True)
        # imgtool signs files only, and reads a file without the suffix .hex as a raw binary
        with tempfile.TemporaryDirectory(prefix="otabench-pack-") as work:
            raw = Path(work) / "body.bin"
            raw.write_bytes(body)
            _imgtool_sign(raw, out, details, key=key, version=version, counter=counter)
    except OSError as error:
        raise FirmwareError(
            f"{error.filename or out}: {error.strerror}; choose another place with --out or --keys"
        ) from error
    return FirmwareFile(ecu, details.hardware_id, str(version), out, out.stat().st_size, counter)


def require_signing_key(path: Path) -> None:
    """Refuse a key whose signatures the ECUs' bootloaders do not verify, although imgtool would sign with it.

    Raises:
        FirmwareError: it is of another kind, or cannot be read.
        OSError: the file does not exist.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = " ".join(str(error).split())
        raise FirmwareError(
            f"{path}: not a usable signing key (an unencrypted private key in PEM): {reason}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FirmwareError(
            f"{path}: a key of the kind {describe_key(key)}, and the ECUs' bootloaders verify Ed25519; "
            "`otabench keys init` makes one"
        )


def _imgtool_sign(
    raw: Path, out: Path, details: ImageDetails, *, key: Path, version: ImageVersion, counter: int
) -> None:
    # imgtool raises click's exceptions; imported here because importing imgtool takes long
    import click
    from imgtool.main import sign

    arguments = ["--key", str(key), "--header-size", hex(HEADER_SIZE), "--pad-header", "--slot-size"]
    arguments += [hex(details.slot_size_bytes)]
    arguments += ["--align", str(ALIGN_BYTES), "--version", str(version), "--security-counter", str(counter)]
    if details.dependencies:
        required = "".join(f"({each.image_number},{each.version})" for each in details.dependencies)
        arguments += ["--dependencies", required]
    if details.rxswin:
        # As hexadecimal digits: imgtool takes a text that begins with 0x for a number.
        arguments += ["--custom-tlv", f"{image_format.TLV_RXSWIN:#06x}", "0x" + details.rxswin.encode().hex()]
    arguments += ["--vid", VENDOR, "--cid", details.hardware_id, str(raw), str(out)]
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # imgtool reports progress by print
            sign.main(arguments, prog_name="imgtool sign", standalone_mode=False)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        raise FirmwareError(f"{out.name}: {_too_large(message) or f'imgtool refuses: {message}'}") from error
    except ValueError as error:
        raise FirmwareError(f"{key}: not a usable signing key: {error}") from error


def _too_large(message: str) -> str | None:
    """Return imgtool's complaint about an image that does not fit, with decimal sizes; None if it complains about something else."""
    found = re.search(
        r"Image size \((0x[0-9a-f]+)\) \+ trailer \((0x[0-9a-f]+)\) exceeds requested size (0x[0-9a-f]+)", message
    )
    if found is None:
        return None
    image, trailer, slot = (int(number, 16) for number in found.groups())
    larger_slot = (
        ", or give the ECU a larger slot (slot_size_bytes in the bench file)" if slot < SLOT_SIZE_BYTES else ""
    )
    return (
        f"the image is too large: {image:,} bytes with header and signature, but a slot of {slot:,} bytes takes {slot - trailer:,} "
        f"({trailer:,} are MCUboot's trailer); make the binary at least {image + trailer - slot:,} bytes smaller{larger_slot}"
    )


def read(path: Path) -> tuple[Image, bytes]:
    """Return an image, parsed, and its bytes.

    Raises:
        FirmwareError: the file cannot be read or is not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{path}: {error.strerror}; check the path") from error
    try:
        return image_format.parse(data), data
    except ImageFormatError as error:
        raise FirmwareError(f"{path}: {_not_an_image(data, error)}") from error


def _not_an_image(data: bytes, error: ImageFormatError) -> str:
    """Return what a file is instead of an image, and the remedy."""
    try:
        found = recognize(data)
    except NotAProgram as foreign:
        return str(foreign)
    if found in (ProgramFormat.MCUBOOT, ProgramFormat.RAW):
        return f"{error}; `otabench firmware pack` makes an image from a binary"
    return f"it is a program file ({found}), not an image; `otabench firmware pack` makes of it what its ECU takes"


def describe(path: Path, topology: Topology) -> dict[str, str]:
    """Return what `otabench firmware info` prints, by label.

    Raises:
        FirmwareError: see ``read``.
    """
    image, data = read(path)
    owners = {image_format.class_id_of(ecu.hardware_id): ecu.hardware_id for ecu in topology.ecus.values()}
    class_id = image.class_id
    stated = image.tlv(image_format.TLV_SHA256)
    return {
        "file": f"{path} ({len(data)} bytes)",
        "version": str(image.version),
        "body": f"{image.binary_size} bytes behind a header of {image.header_size}",
        "security counter": "none" if image.security_counter is None else str(image.security_counter),
        "class id": "none"
        if class_id is None
        else f"{class_id.hex()} ({owners.get(class_id, 'no ECU of the bench file')})",
        "requires": ", ".join(_requirement(each, topology) for each in image.dependencies) or "nothing",
        "sha-256": f"{stated.hex() if stated else 'none'} ({'correct' if stated == image_format.digest(data, image) else 'WRONG'})",
        "signature": ", ".join(image.signature_kinds) or "none",
    }


def _requirement(dependency: Dependency, topology: Topology) -> str:
    names = {topology.image_number_of(ecu): ecu for ecu in topology.ecus}
    names[OWN_IMAGE] = "itself"
    name = names.get(dependency.image_number, "no ECU of the bench file")
    return f"{name} >= {dependency.version} (image {dependency.image_number})"
