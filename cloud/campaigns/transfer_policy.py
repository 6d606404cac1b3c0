"""Decide whether an ECU gets a patch or the full image.

A patch saves time on the bus but costs the ECU memory and time to rebuild the image, so by default it must save enough.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

PATCH_PAYS_BELOW: Final = 0.70
"""A patch is kept if it is smaller than this share of the image."""


class TransferPolicy(StrEnum):
    """The operator's choice (``ota.v1.TransferPolicy``)."""

    AUTO = "AUTO"
    """A patch if it is small enough, otherwise the full image."""
    FULL = "FULL"
    DELTA = "DELTA"
    """A patch, even if it is larger than the image. A vehicle is refused if its patch cannot be made."""


def patch_is_kept(policy: TransferPolicy, *, patch_bytes: int, image_bytes: int) -> bool:
    """Return whether a patch of that size goes into the manifest."""
    if policy is TransferPolicy.FULL:
        return False
    return policy is TransferPolicy.DELTA or patch_bytes < PATCH_PAYS_BELOW * image_bytes
