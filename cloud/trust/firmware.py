"""Verify published firmware: MCUboot images, with the same checks as in the bootloader, and program files. This module reads no files.

Steps for an image, in the order of MCUboot's ``bootutil_img_validate``:

1. The bytes are one well-formed image, without further bytes behind it.
2. Its SHA-256 TLV is the digest of header, binary and protected TLVs.
3. Its Ed25519 TLV is a signature over that digest by the fleet's image key.
4. Its class id belongs to the hardware that it is offered for, and it has a security counter.

The ECU's bootloader verifies the same at every boot. The cloud refuses a wrong image before any vehicle learns of it.

A program file (HEX, VBF, a raw binary, …) has no signature of its own: the Director signs its digest, format and segments. The operator's
tool parses the file and sends format and segments. The cloud has no parser: it checks the format by the first bytes, and whether the file
is large enough for the segments. The format of a raw binary is not checked, because its bytes may be anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.proto import image_format
from otabench.proto.image_format import Dependency, Image
from otabench.proto.program_format import NotAProgram, ProgramFormat, recognize
from otabench.proto.uptane import FORMATS_WITHOUT_ADDRESSES, PayloadCustom
from otabench.proto.version_order import check_text

_TEXT_RECORDS: Final = (ProgramFormat.INTEL_HEX, ProgramFormat.S_RECORD)


class FirmwareRefused(Exception):
    """The image or program file is refused. The message contains the reason, and the remedy."""


@dataclass(frozen=True)
class Firmware:
    """A verified image or program file."""

    hardware_id: str
    version: str
    security_counter: int
    """0 for a program file, which has none."""
    length: int
    sha256: str
    """Digest of the whole file, hex, as in the manifest. The digest in the image's own TLV covers less."""
    dependencies: tuple[Dependency, ...] = ()
    payload: PayloadCustom | None = None
    """What is in a program file. None: this is an MCUboot image."""
    rxswin: str = ""
    """Of the type-approved software that the image is part of (UN R156); empty: it states none."""

    @property
    def image_id(self) -> str:
        """The key of the image or program file in the artifact store's index.

        An image contains its hardware and its version, so its digest is enough. A program file contains neither.
        """
        if self.payload is None:
            return self.sha256
        facts = "\n".join((self.sha256, self.hardware_id, self.version, self.payload.model_dump_json()))
        return hashlib.sha256(facts.encode()).hexdigest()


def verify(data: bytes, *, hardware_id: str, key: Ed25519PublicKey) -> Firmware:
    """Return the facts of an image that passes all four steps.

    Raises:
        FirmwareRefused: a step fails.
    """
    image = _verify_structure(data)  # 1
    digest = _verify_digest(data, image)  # 2
    _verify_signature(image, digest, key)  # 3
    counter = _verify_purpose(image, hardware_id)  # 4
    return Firmware(
        hardware_id=hardware_id,
        version=str(image.version),
        security_counter=counter,
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        dependencies=image.dependencies,
        rxswin=image.rxswin,
    )


def verify_program(data: bytes, *, hardware_id: str, version: str, payload: PayloadCustom) -> Firmware:
    """Return the facts of a program file, if they fit its contents.

    Args:
        data: the file.
        hardware_id: what it is for.
        version: any text. The ECU's order of versions applies later, when the vehicle's current version is known.
        payload: the operator's statement about the file.

    Raises:
        FirmwareRefused: the statement contradicts the contents.
    """
    try:
        check_text(version)
    except ValueError as error:
        raise FirmwareRefused(str(error)) from error
    if not data:
        raise FirmwareRefused("the file is empty: publish one that contains a program")
    _verify_format(data, payload.format)
    listed = sum(segment.length for segment in payload.segments)
    if payload.format in FORMATS_WITHOUT_ADDRESSES and listed != len(data):
        raise FirmwareRefused(f"{listed} bytes are stated, but the {payload.format} has {len(data)}")
    if payload.format in _TEXT_RECORDS and 2 * listed > len(data):
        # These formats write each byte as two digits.
        raise FirmwareRefused(f"{listed} bytes are stated, more than {len(data)} bytes of {payload.format} can hold")
    # ELF and VBF contain the segments as they are. A PDX file is a zip archive: its size limits nothing.
    if payload.format in (ProgramFormat.ELF, ProgramFormat.VBF) and listed > len(data):
        raise FirmwareRefused(f"{listed} bytes are stated, but the {payload.format} file has only {len(data)}")
    return Firmware(
        hardware_id=hardware_id,
        version=version,
        security_counter=0,
        length=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        payload=payload,
    )


def _verify_format(data: bytes, stated: ProgramFormat) -> None:
    if stated is ProgramFormat.RAW:
        return
    try:
        found = recognize(data)
    except NotAProgram as error:
        raise FirmwareRefused(str(error)) from error
    if found is not stated:
        raise FirmwareRefused(f"it is stated to be {stated}, but its contents are {found}")


def _verify_structure(data: bytes) -> Image:
    try:
        image = image_format.parse(data)
    except image_format.ImageFormatError as error:
        raise FirmwareRefused(f"{error} (make it with imgtool sign, or otabench firmware pack)") from error
    # The signature does not cover bytes after the image, but an ECU would program them, too.
    if image.total_size != len(data):
        raise FirmwareRefused(
            f"{len(data) - image.total_size} bytes follow the image's end: sign it without imgtool's --pad"
        )
    return image


def _verify_digest(data: bytes, image: Image) -> bytes:
    digest = image_format.digest(data, image)
    stated = image.tlv(image_format.TLV_SHA256)
    if stated is None:
        raise FirmwareRefused("it has no SHA-256 (TLV 0x10): sign it with imgtool and an Ed25519 key")
    if stated != digest:
        raise FirmwareRefused("its SHA-256 does not match its contents: the image was changed after it was signed")
    return digest


def _verify_signature(image: Image, digest: bytes, key: Ed25519PublicKey) -> None:
    # imgtool signs the digest instead of the image, so that a bootloader can verify without holding the image in memory.
    signature = image.tlv(image_format.TLV_ED25519)
    if signature is None and image.signature_kinds:
        raise FirmwareRefused(
            f"it is signed by a key of the kind {', '.join(image.signature_kinds)}, and the fleet's bootloaders verify Ed25519: "
            "sign it with image/signing.pem of the keys folder"
        )
    if signature is None:
        raise FirmwareRefused(
            "it is not signed (no Ed25519 TLV 0x24): sign it with image/signing.pem of the keys folder"
        )
    try:
        key.verify(signature, digest)
    except InvalidSignature as error:
        raise FirmwareRefused(
            "its signature was not made with this fleet's image key: sign it with image/signing.pem of the keys folder"
        ) from error


def _verify_purpose(image: Image, hardware_id: str) -> int:
    """Return the security counter, if the image is for that hardware."""
    # imgtool derives the class id from the names of vendor and class: UUIDs of version 5 (image_format.class_id_of).
    if image.class_id is None:
        raise FirmwareRefused(f"it has no class id: sign it with --vid {image_format.VENDOR} --cid {hardware_id}")
    if image.class_id != image_format.class_id_of(hardware_id):
        raise FirmwareRefused(
            f"its class id does not belong to hardware {hardware_id!r}: it was built for other hardware"
        )
    counter = image.security_counter
    if counter is None:
        raise FirmwareRefused("it has no security counter: sign it with imgtool's --security-counter")
    return counter
