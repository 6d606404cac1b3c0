"""Patches: what they rebuild, and what an ECU needs to read them."""

from __future__ import annotations

import random
import struct

import bsdiff4
import pytest

from otabench.cloud.store.deltas import make_patch

BASE = random.Random(1).randbytes(40_000)
TARGETS = {
    "some bytes changed": BASE[:1000] + b"changed" * 9 + BASE[1050:],
    "nothing changed": BASE,
    "nothing in common": random.Random(2).randbytes(30_000),
    "one byte": b"x",
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_patch_rebuilds_its_target_and_needs_the_smallest_decoder(name: str) -> None:
    patch = make_patch(BASE, TARGETS[name]).content
    assert bsdiff4.patch(BASE, patch) == TARGETS[name]
    control, diff = struct.unpack_from("<QQ", patch, 8)
    heads = [patch[start : start + 4] for start in (32, 32 + control, 32 + control + diff)]
    assert heads == [b"BZh1"] * 3, "bzip2 with blocks of 100 kB: 500 kB of decoder"
