"""Whether an image may run on this ECU: the rules that the bootloader applies at every boot, and check memory before staging.

Pure: bytes and pinned facts in, the image or a refusal out. Rules, in this order:

1. the header and the TLVs are well formed;
2. the SHA-256 TLV is the digest of header, binary and protected TLVs;
3. the class id is that of this ECU's hardware id;
4. the Ed25519 signature of that digest verifies with the pinned key;
5. the security counter is present and not below the minimum.
"""

from __future__ import annotations

from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.proto import image_format
from otabench.proto.image_format import Image, ImageFormatError


class CheckStatus(IntEnum):
    """The result of routine 0202 check memory, as in its response."""

    CORRECT = 0x00
    NO_IMAGE = 0x01
    DIGEST_DIFFERS = 0x02
    OTHER_HARDWARE = 0x03
    SIGNATURE_WRONG = 0x04
    SECURITY_COUNTER_TOO_LOW = 0x05
    MANIFEST_REFUSED = 0x06
    MANIFEST_TOO_OLD = 0x07
    PATCH_REFUSED = 0x08
    DECRYPTION_FAILED = 0x09
    METADATA_EXPIRED = 0x0A


class ImageRefused(Exception):
    """An image that must not run here.

    Attributes:
        status: which rule it broke.
    """

    def __init__(self, status: CheckStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(
    data: bytes | memoryview, *, public_key: Ed25519PublicKey, hardware_id: str, minimum_security_counter: int
) -> Image:
    """Return the image at the start of ``data``, to which all rules were applied.

    Raises:
        ImageRefused: the rule that it broke, and how.
    """
    # 1. well formed
    try:
        image = image_format.parse(data)
    except ImageFormatError as error:
        raise ImageRefused(CheckStatus.NO_IMAGE, str(error)) from error
    # 2. digest. It separates a damaged image from one of another signer, which the signature alone cannot.
    digest = image_format.digest(data, image)
    if image.tlv(image_format.TLV_SHA256) != digest:
        raise ImageRefused(CheckStatus.DIGEST_DIFFERS, "the image's SHA-256 differs from the one in its TLV")
    # 3. class id. Before the signature, which is good on an image for another ECU, too: the tester learns the real reason.
    if image.class_id != image_format.class_id_of(hardware_id):
        raise ImageRefused(CheckStatus.OTHER_HARDWARE, f"the image's class id is not that of {hardware_id}")
    # 4. signature
    signature = image.tlv(image_format.TLV_ED25519)
    if signature is None:
        raise ImageRefused(CheckStatus.SIGNATURE_WRONG, "the image has no Ed25519 signature")
    try:
        public_key.verify(signature, digest)
    except InvalidSignature as error:
        raise ImageRefused(CheckStatus.SIGNATURE_WRONG, "the image's signature is not by the pinned key") from error
    # 5. security counter. Only now: it is protected by the signature. An image without one could always be replayed.
    if image.security_counter is None or image.security_counter < minimum_security_counter:
        raise ImageRefused(
            CheckStatus.SECURITY_COUNTER_TOO_LOW,
            f"the image's security counter is {image.security_counter}, the minimum is {minimum_security_counter}",
        )
    return image
