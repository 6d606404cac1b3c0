"""What an ECU's metadata window holds: the Director's Targets, the Roots that lead from the pinned one to the newest, and the time.

The Targets alone are JSON. With anything else it is a small container, big-endian:

    "OTMW"  version (1): 01  { kind (1): 01 Root, 02 Targets, 03 time attestation; length (4); content } …

The Roots come in the order of their versions, the time attestation once at most, the Targets last. docs/contracts.md describes the format
for boards ("Transfer"). Nothing is verified here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_MAGIC: Final = b"OTMW\x01"
_PART: Final = struct.Struct(">BI")
MAX_ROOTS: Final = 64
"""More do not fit a window, and would keep an ECU busy."""


class MalformedWindow(Exception):
    """The bytes are a container, and not a whole one."""


class _Kind(IntEnum):
    ROOT = 1
    TARGETS = 2
    TIME = 3


@dataclass(frozen=True)
class WindowContents:
    """The documents of a window, not verified."""

    roots: tuple[bytes, ...]
    """By version."""
    targets: bytes
    time: bytes = b""
    """A time attestation (``proto.time_attestation``); empty: there is none."""


def pack(roots: Sequence[bytes], targets: bytes, *, time: bytes = b"") -> bytes:
    """Return the bytes for the window. Targets alone are themselves, which every ECU reads."""
    if not roots and not time:
        return targets
    parts = [(_Kind.ROOT, root) for root in roots]
    parts += [(_Kind.TIME, time)] if time else []
    parts.append((_Kind.TARGETS, targets))
    return _MAGIC + b"".join(_PART.pack(kind, len(content)) + content for kind, content in parts)


def with_time(window: bytes, time: bytes) -> bytes:
    """Return what ``pack`` made, with a time attestation. Raises MalformedWindow."""
    contents = parse(window)
    return pack(contents.roots, contents.targets, time=time)


def without_roots_until(window: bytes, version: int) -> bytes:
    """Return what ``pack`` made, without the Roots that a receiver with this version has already.

    Raises:
        MalformedWindow: it is damaged, or a Root in it is not metadata.
    """
    contents = parse(window)
    try:
        needed = [root for root in contents.roots if json.loads(root)["signed"]["version"] > version]
    except (ValueError, LookupError, TypeError) as error:
        raise MalformedWindow("a Root that is not metadata") from error
    return pack(needed, contents.targets, time=contents.time)


def parse(data: bytes) -> WindowContents:
    """Return the documents of a window.

    Raises:
        MalformedWindow: a container is cut short, holds something else, or does not end with its only Targets.
    """
    if not data.startswith(_MAGIC):
        return WindowContents((), data)
    roots: list[bytes] = []
    time = b""
    offset = len(_MAGIC)
    while True:
        if offset + _PART.size > len(data):
            raise MalformedWindow("the container ends without Targets")
        kind, length = _PART.unpack_from(data, offset)
        offset += _PART.size
        content = data[offset : offset + length]
        if len(content) != length:
            raise MalformedWindow("the container is cut short")
        offset += length
        if kind == _Kind.TARGETS:
            if offset != len(data):
                raise MalformedWindow("something follows the Targets")
            return WindowContents(tuple(roots), content, time)
        if kind == _Kind.TIME and not time:
            time = content
            continue
        if kind != _Kind.ROOT or len(roots) == MAX_ROOTS:
            raise MalformedWindow(f"a part of the kind {kind}, a second time, or more than {MAX_ROOTS} Roots")
        roots.append(content)
