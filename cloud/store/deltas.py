"""Patches from one image to another, by bsdiff4.

A patch is compressed for small ECUs. bsdiff4 compresses its three streams with bzip2 blocks of 900 kB, and a decoder needs 3.7 MB for such
a block. For blocks of 100 kB a decoder needs 500 kB. Smaller blocks do not make patches of firmware larger, because the streams are mostly
zeros.

Making a patch takes processor time (seconds per megabyte) and memory (about ten times the image). It does not hold the interpreter's lock,
so call it from a worker thread. ``campaigns.transfer_policy`` decides whether a patch is worth sending.
"""

from __future__ import annotations

import bz2
import hashlib
import struct
from dataclasses import dataclass
from typing import Final, cast

import bsdiff4

BZIP2_LEVEL: Final = 1
"""The block size of each stream: 100 kB."""
_HEADER: Final = struct.Struct("<8sQQQ")  # magic, then three lengths: control stream, diff stream, target image
_MAGIC: Final = b"BSDIFF40"


@dataclass(frozen=True)
class Patch:
    """A bsdiff4 patch."""

    content: bytes
    sha256: str


def make_patch(base: bytes, target: bytes) -> Patch:
    """Return the patch that rebuilds ``target`` from ``base``."""
    content = _for_small_ecus(cast(bytes, bsdiff4.diff(base, target)))
    return Patch(content=content, sha256=hashlib.sha256(content).hexdigest())


def _for_small_ecus(patch: bytes) -> bytes:
    # Change only the compression of each stream. The contents of the streams stay bsdiff4's.
    _, control_length, diff_length, target_length = _HEADER.unpack_from(patch)
    streams = patch[_HEADER.size :]
    diff_end = control_length + diff_length
    parts = streams[:control_length], streams[control_length:diff_end], streams[diff_end:]
    control_stream, diff_stream, extra_stream = (bz2.compress(bz2.decompress(part), BZIP2_LEVEL) for part in parts)
    header = _HEADER.pack(_MAGIC, len(control_stream), len(diff_stream), target_length)
    return header + control_stream + diff_stream + extra_stream
