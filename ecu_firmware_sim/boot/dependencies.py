"""An image's dependencies, as an ECU judges them: the versions that it keeps with a slot, and whether they are high enough.

Pure. The Director's signed Targets are an ECU's only source about other ECUs. When check memory accepts an image, the ECU keeps those of
the promised versions that the image names (``kept``). They stay with the slot in the boot control record. Rules:

* A dependency on another ECU is met if the kept version of that image number is not lower. Without a kept version it is not met.
* A dependency on image 0 is a condition of the update, not of the boot: it names the version that the ECU runs while the image is
  staged. It is skipped where nothing runs, because such an ECU must be rescuable.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from otabench.proto.image_format import OWN_IMAGE, Image, ImageVersion, first_unmet

Versions = tuple[tuple[int, ImageVersion], ...]
"""By image number, ascending."""

# Image number, then the version: major, minor, revision, build, as in an image header.
_ENTRY: Final = struct.Struct(">BBBHI")


def kept(image: Image, promised: Mapping[int, ImageVersion]) -> Versions:
    """Return those of ``promised`` that the image names: their number is bounded by the image, not by the vehicle."""
    # Image 0 is this ECU itself, whose version is not promised but read.
    named = {each.image_number for each in image.dependencies} - {OWN_IMAGE}
    return tuple((number, promised[number]) for number in sorted(named & promised.keys()))


def unmet(image: Image, versions: Versions, *, own: ImageVersion | None = None) -> str:
    """Return the first dependency that is not met, in words; "" where there is none.

    Args:
        image: the image, verified.
        versions: the versions kept with its slot.
        own: the version that the ECU runs; None: dependencies on image 0 are skipped.
    """
    known = dict(versions)
    if own is not None:
        known[OWN_IMAGE] = own
    unmet_one = first_unmet((each for each in image.dependencies if own is not None or each.image_number), known)
    if unmet_one is None:
        return ""
    found = known.get(unmet_one.image_number)
    if unmet_one.image_number == OWN_IMAGE:
        return f"image {image.version} is for an ECU that runs {unmet_one.version} or newer, it runs {found}"
    promise = f"promise {found}" if found is not None else "promise nothing of it"
    return f"image {image.version} needs {unmet_one}, the Targets it came with {promise}"


def encode(versions: Versions) -> bytes:
    """Return the versions as they are stored in the boot control record: their number in one byte, then each."""
    entries = (_ENTRY.pack(number, each.major, each.minor, each.revision, each.build) for number, each in versions)
    return bytes((len(versions),)) + b"".join(entries)


def decode(data: bytes) -> tuple[Versions, bytes]:
    """Return one list, and the bytes that follow it. Raises struct.error or IndexError where it is cut short."""
    count = data[0]
    found = []
    for index in range(count):
        number, *version = _ENTRY.unpack_from(data, 1 + index * _ENTRY.size)
        found.append((number, ImageVersion(*version)))
    return tuple(found), data[1 + count * _ENTRY.size :]
