"""Read firmware images in MCUboot's format.

    image = parse(Path("engine-2.0.0.bin").read_bytes())
    print(image.version, image.security_counter, *image.dependencies)

Layout (MCUboot's ``docs/design.md`` and ``bootutil/image.h``; all integers are little-endian):

    header (32 bytes, padded to ``header_size``) | binary | protected TLVs (magic 0x6908) | TLVs (magic 0x6907)

The SHA-256 TLV covers header, binary and protected TLVs. imgtool's Ed25519 signature covers that digest.

A dependency (TLV 0x40) holds an image number and its minimum version. docs/contracts.md describes the image numbers of a vehicle.

imgtool makes the images. The bootloader and the cloud verify their signatures; this module does not.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

IMAGE_MAGIC: Final = 0x96F3B83D
# Magic, load address, header size, size of the protected TLVs, binary size, flags, version (four numbers), padding.
HEADER_FORMAT: Final = struct.Struct("<IIHHIIBBHII")
HEADER_SIZE: Final = HEADER_FORMAT.size  # 32
TLV_INFO_MAGIC: Final = 0x6907
TLV_PROTECTED_INFO_MAGIC: Final = 0x6908
# An area begins with magic and length, including this header. An entry begins with kind and length, excluding this header.
_TLV_INFO: Final = struct.Struct("<HH")
_DEPENDENCY: Final = struct.Struct("<B3xBBHI")  # image number; major, minor, revision, build

TLV_SHA256: Final = 0x10
TLV_ED25519: Final = 0x24
SIGNATURE_TLVS: Final[Mapping[int, str]] = {
    0x20: "RSA-2048",
    0x21: "ECDSA (P-224)",
    0x22: "ECDSA",
    0x23: "RSA-3072",
    TLV_ED25519: "Ed25519",
}
"""MCUboot's kinds of signatures (``bootutil/image.h``)."""
TLV_DEPENDENCY: Final = 0x40
TLV_SECURITY_COUNTER: Final = 0x50
TLV_UUID_CLASS: Final = 0x75
TLV_RXSWIN: Final = 0x00A0
"""Of the range that MCUboot leaves to vendors (``bootutil/image.h``: 0xXXA0 to 0xXXFE). ASCII."""
MAX_RXSWIN_CHARACTERS: Final = 64

OWN_IMAGE: Final = 0
"""The image number that denotes the image's own ECU. Such a dependency concerns the version before the update."""
MAX_IMAGE_NUMBER: Final = 0xFF
MAX_SECURITY_COUNTER: Final = 0xFFFF_FFFF
MAX_DEPENDENCIES: Final = 32
"""Limited, because an ECU stores a version for each dependency."""

_MAX_VERSION_DIGITS: Final = 20

VENDOR: Final = "otabench"
"""The vendor name of all images (``imgtool --vid``)."""


class ImageFormatError(Exception):
    """The bytes are not a well-formed MCUboot image. The message states what is wrong and where."""


@dataclass(frozen=True, order=True)
class ImageVersion:
    """``major.minor.revision+build``. The order includes the build number, as MCUboot's does when configured to compare it."""

    major: int
    minor: int
    revision: int
    build: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.revision}"
        return f"{text}+{self.build}" if self.build else text

    @classmethod
    def parse(cls, text: str) -> ImageVersion:
        """Return the version in a text such as ``2.0.1`` or ``2.0.1+5``.

        Raises:
            ValueError: the text does not have that form, or a number is too large for its field (8, 8, 16, 32 bits).
        """
        numbers, _, build = text.partition("+")
        parts = numbers.split(".")
        # isdigit alone would accept the digits of every script.
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"version {text!r}: expected MAJOR.MINOR.REVISION or MAJOR.MINOR.REVISION+BUILD")
        if build and not (build.isascii() and build.isdigit()):
            raise ValueError(f"version {text!r}: the build number is not a number")
        # The length first: int() refuses thousands of digits by an error of its own.
        if max(map(len, (*parts, build))) > _MAX_VERSION_DIGITS:
            raise ValueError(f"version {text[:40]!r}: a number is too large (8, 8, 16 and 32 bits)")
        version = cls(int(parts[0]), int(parts[1]), int(parts[2]), int(build or 0))
        if version.major > 0xFF or version.minor > 0xFF or version.revision > 0xFFFF or version.build > 0xFFFF_FFFF:
            raise ValueError(f"version {text!r}: a number is too large (8, 8, 16 and 32 bits)")
        return version


NOTHING_RUNS: Final = ImageVersion(0, 0, 0)
"""The version that an ECU reports (identifier F189) while it is in its bootloader and does not run an image."""


@dataclass(frozen=True)
class Dependency:
    """A dependency of an image: it needs that image number in that version or a newer one."""

    image_number: int
    version: ImageVersion

    def __str__(self) -> str:
        return f"image {self.image_number} >= {self.version}"


@dataclass(frozen=True)
class Image:
    """The fields of a well-formed image. Its digest and signature are not verified yet."""

    header_size: int
    binary_size: int
    protected_tlv_size: int
    total_size: int
    version: ImageVersion
    tlvs: tuple[tuple[int, bytes], ...]
    protected_tlvs: tuple[tuple[int, bytes], ...]
    dependencies: tuple[Dependency, ...] = ()
    """In the order of their TLVs."""

    @property
    def signature_kinds(self) -> tuple[str, ...]:
        """The kinds of the image's signatures, whether they verify or not."""
        return tuple(SIGNATURE_TLVS[kind] for kind, _ in self.tlvs if kind in SIGNATURE_TLVS)

    @property
    def hashed_size(self) -> int:
        """The number of bytes, from the start, that the SHA-256 TLV covers."""
        return self.header_size + self.binary_size + self.protected_tlv_size

    def tlv(self, kind: int) -> bytes | None:
        """Return the value of the unprotected TLV of that kind, or None."""
        return next((value for tag, value in self.tlvs if tag == kind), None)

    def protected_tlv(self, kind: int) -> bytes | None:
        """Return the value of the protected TLV of that kind, or None."""
        return next((value for tag, value in self.protected_tlvs if tag == kind), None)

    @property
    def security_counter(self) -> int | None:
        value = self.protected_tlv(TLV_SECURITY_COUNTER)
        return None if value is None or len(value) != 4 else int.from_bytes(value, "little")

    @property
    def rxswin(self) -> str:
        """The RXSWIN (UN R156, 2.1) of the software that the image is part of; empty: it states none that can be shown."""
        value = self.protected_tlv(TLV_RXSWIN) or b""
        return value.decode("ascii") if is_rxswin(value) else ""

    @property
    def class_id(self) -> bytes | None:
        """The 16 bytes that ``class_id_of`` derives from a hardware id."""
        return self.protected_tlv(TLV_UUID_CLASS) or self.tlv(TLV_UUID_CLASS)


def rxswin_problem(text: str) -> str:
    """Return why an image cannot state a text as its RXSWIN; empty if it can, or states none."""
    if not text or is_rxswin(text.encode()):
        return ""
    return (
        f"RXSWIN {text!r}: expected 1 to {MAX_RXSWIN_CHARACTERS} printable ASCII characters, without blanks at the ends"
    )


def is_rxswin(value: bytes) -> bool:
    """Return whether an RXSWIN has the form that an image may state: 1 to 64 printable ASCII characters, no blank at either end."""
    return (
        0 < len(value) <= MAX_RXSWIN_CHARACTERS
        and value == value.strip()
        and all(0x20 <= byte < 0x7F for byte in value)
    )


def class_id_of(hardware_id: str) -> bytes:
    """Return the class id of a hardware id, as imgtool derives it from vendor and class name (``--vid``, ``--cid``)."""
    vendor = uuid.uuid5(uuid.NAMESPACE_DNS, VENDOR)
    return uuid.uuid5(vendor, hardware_id).bytes


def parse(data: bytes | bytearray | memoryview) -> Image:
    """Return the fields of an image that starts at offset 0. Bytes after its last TLV are ignored.

    Raises:
        ImageFormatError: the data is not an image, its sizes contradict each other or the data's length, or its dependencies are
            malformed or too many.
    """
    # Slices of a memoryview do not copy the slot.
    view = memoryview(data)
    if len(view) < HEADER_SIZE:
        raise ImageFormatError(f"{len(view)} bytes are shorter than an image header ({HEADER_SIZE})")
    magic, _load, header_size, protected_size, binary_size, _flags, major, minor, revision, build, _pad = (
        HEADER_FORMAT.unpack_from(view)
    )
    if magic != IMAGE_MAGIC:
        raise ImageFormatError(f"header magic is 0x{magic:08X}, not 0x{IMAGE_MAGIC:08X}: this is not an MCUboot image")
    # These three sizes come from the file. Python's integers do not overflow, so one sum is a safe check.
    if header_size < HEADER_SIZE or header_size + binary_size + protected_size > len(view):
        raise ImageFormatError(
            f"header claims {header_size} + {binary_size} + {protected_size} bytes, there are {len(view)}: the image is cut short"
        )
    # imgtool pads the header to ``header_size``, so the binary does not start right after the 32 bytes.
    offset = header_size + binary_size
    protected: tuple[tuple[int, bytes], ...] = ()
    if protected_size:
        # The digest covers the length in the header. If the area's own length differed, part of it would not be protected.
        protected, end = _read_tlvs(view, offset, TLV_PROTECTED_INFO_MAGIC)
        if end != offset + protected_size:
            raise ImageFormatError("the protected TLV area's length differs from the header's")
        offset = end
    tlvs, end = _read_tlvs(view, offset, TLV_INFO_MAGIC)
    return Image(
        header_size=header_size,
        binary_size=binary_size,
        protected_tlv_size=protected_size,
        total_size=end,
        version=ImageVersion(major, minor, revision, build),
        tlvs=tlvs,
        protected_tlvs=protected,
        dependencies=_dependencies(protected),
    )


def digest(data: bytes | bytearray | memoryview, image: Image) -> bytes:
    """Return the SHA-256 of the bytes that the image's SHA-256 TLV covers."""
    return hashlib.sha256(memoryview(data)[: image.hashed_size]).digest()


def first_unmet(dependencies: Iterable[Dependency], versions: Mapping[int, ImageVersion]) -> Dependency | None:
    """Return the first dependency that is not met, or None.

    Args:
        dependencies: the dependencies of one image.
        versions: versions by image number. A dependency on a missing number is not met.
    """
    for each in dependencies:
        version = versions.get(each.image_number)
        if version is None or version < each.version:
            return each
    return None


def _dependencies(protected: tuple[tuple[int, bytes], ...]) -> tuple[Dependency, ...]:
    # Only protected TLVs count, because the signature does not cover the others.
    values = [value for tag, value in protected if tag == TLV_DEPENDENCY]
    if len(values) > MAX_DEPENDENCIES:
        raise ImageFormatError(f"it has {len(values)} dependencies, more than {MAX_DEPENDENCIES}")
    found = []
    for value in values:
        if len(value) != _DEPENDENCY.size:
            raise ImageFormatError(f"a dependency (TLV 0x40) has {len(value)} bytes, not {_DEPENDENCY.size}")
        image_number, *version = _DEPENDENCY.unpack(value)
        found.append(Dependency(image_number, ImageVersion(*version)))
    return tuple(found)


def _read_tlvs(view: memoryview, offset: int, magic: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    if offset + _TLV_INFO.size > len(view):
        raise ImageFormatError(f"no TLV area at 0x{offset:X}: the image is cut short")
    found, total = _TLV_INFO.unpack_from(view, offset)
    end = offset + total
    if found != magic:
        raise ImageFormatError(f"TLV magic at 0x{offset:X} is 0x{found:04X}, not 0x{magic:04X}")
    if end > len(view) or total < _TLV_INFO.size:
        raise ImageFormatError(f"the TLV area at 0x{offset:X} claims {total} bytes: the image is cut short")
    entries = []
    # A length in the file may be wrong. Compare it with the end of its area before using it.
    offset += _TLV_INFO.size
    while offset < end:
        if offset + _TLV_INFO.size > end:
            raise ImageFormatError(f"a TLV header at 0x{offset:X} crosses the end of its area")
        tag, length = _TLV_INFO.unpack_from(view, offset)
        offset += _TLV_INFO.size
        if offset + length > end:
            raise ImageFormatError(f"TLV 0x{tag:02X} at 0x{offset:X} crosses the end of its area")
        entries.append((tag, bytes(view[offset : offset + length])))
        offset += length
    return tuple(entries), end
