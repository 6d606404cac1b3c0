"""What an image depends on, as an ECU judges it: the versions that it keeps with a slot, and whether they are enough.

Pure. An ECU hears of other ECUs from the Director's signed Targets alone. When check memory takes an image, it keeps of the
versions that these promise those that the image names (``kept``); they stay with the slot in the boot control record. Rules:

* A dependency on another ECU is met where the kept version of that image number is not lower. What is not kept is not met.
* A dependency on image 0 is a condition of the update, not of the boot: what the ECU runs while the image is staged. Where
  nothing runs it is not asked, as the ECU must be rescuable.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from otabench.proto.image_format import OWN_IMAGE, Image, ImageVersion, first_unmet

Versions = tuple[tuple[int, ImageVersion], ...]
"""By image number, ascending."""

_ENTRY: Final = struct.Struct(">BBBHI")


def kept(image: Image, promised: Mapping[int, ImageVersion]) -> Versions:
    """Return what of ``promised`` stays with the slot: bounded by the image, however many ECUs the vehicle has."""
    named = {each.image_number for each in image.dependencies} - {OWN_IMAGE}
    return tuple((number, promised[number]) for number in sorted(named & promised.keys()))


def unmet(image: Image, versions: Versions, *, own: ImageVersion | None = None) -> str:
    """Return the first dependency that is not met, in words; "" where there is none.

    Args:
        image: verified.
        versions: kept with its slot.
        own: what the ECU runs; None: image 0 is not asked.
    """
    known = dict(versions)
    if own is not None:
        known[OWN_IMAGE] = own
    lacking = first_unmet((each for each in image.dependencies if own is not None or each.image_number), known)
    if lacking is None:
        return ""
    found = known.get(lacking.image_number)
    if lacking.image_number == OWN_IMAGE:
        return f"image {image.version} is for an ECU that runs {lacking.version} or newer, it runs {found}"
    said = f"promise {found}" if found is not None else "promise nothing of it"
    return f"image {image.version} needs {lacking}, the Targets it came with {said}"


def encode(versions: Versions) -> bytes:
    """As in the boot control record."""
    entries = (_ENTRY.pack(number, each.major, each.minor, each.revision, each.build) for number, each in versions)
    return bytes((len(versions),)) + b"".join(entries)


def decode(data: bytes) -> tuple[Versions, bytes]:
    """Read one list, and give what stands behind it. Raises struct.error or IndexError where it is cut short."""
    count = data[0]
    found = []
    for index in range(count):
        number, *version = _ENTRY.unpack_from(data, 1 + index * _ENTRY.size)
        found.append((number, ImageVersion(*version)))
    return tuple(found), data[1 + count * _ENTRY.size :]
