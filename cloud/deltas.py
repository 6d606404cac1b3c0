"""Patches from one image to the next: the one importer of bsdiff4.

Decides nothing: whether a patch is worth having is ``cloud.campaign``'s. Takes processor time (seconds a megabyte) and
memory (some ten times the image), without holding the interpreter; call it from a worker thread.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import cast

import bsdiff4


@dataclass(frozen=True)
class Patch:
    """A bsdiff4 patch."""

    content: bytes
    sha256: str


def make_patch(base: bytes, target: bytes) -> Patch:
    """The patch that makes ``target`` from ``base``."""
    content = cast(bytes, bsdiff4.diff(base, target))
    return Patch(content=content, sha256=hashlib.sha256(content).hexdigest())
