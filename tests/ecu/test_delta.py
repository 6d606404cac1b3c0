"""Rebuilding from a patch: right results, bounded sizes, and every damage refused."""

from __future__ import annotations

import bz2
import random
import struct

import bsdiff4
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecu_firmware_sim import delta
from ecu_firmware_sim.delta import PatchRefused
from tests.ecu.factory import code

RAM = 8_000_000
OLD, NEW = code("1.0.0", 60_000), code("2.0.0", 61_000)
PATCH = bsdiff4.diff(OLD, NEW)


def rebuild(patch: bytes, *, old: bytes = OLD, new_bytes: int = len(NEW), ram_bytes: int = RAM) -> bytes:
    pieces: list[bytes] = []
    delta.rebuild(patch, base=memoryview(old), new_bytes=new_bytes, ram_bytes=ram_bytes, write=pieces.append)
    assert max(map(len, pieces), default=0) <= 4096
    return b"".join(pieces)


def make_patch(triples: list[tuple[int, int, int]], diff: bytes, extra: bytes, new_bytes: int) -> bytes:
    control = b"".join(_encode(value) for triple in triples for value in triple)
    streams = [bz2.compress(part) for part in (control, diff, extra)]
    return b"BSDIFF40" + b"".join(_encode(n) for n in (len(streams[0]), len(streams[1]), new_bytes)) + b"".join(streams)


def _encode(value: int) -> bytes:
    return struct.pack("<Q", value if value >= 0 else -value | 1 << 63)


def test_the_result_is_the_new_image() -> None:
    assert rebuild(PATCH) == NEW


@settings(max_examples=60, deadline=None)
@given(old=st.binary(min_size=1, max_size=6000), new=st.binary(min_size=1, max_size=6000), cut=st.integers(0, 6000))
def test_any_pair_is_rebuilt(old: bytes, new: bytes, cut: int) -> None:
    new = old[:cut] + new
    assert rebuild(bsdiff4.diff(old, new), old=old, new_bytes=len(new)) == new


def test_a_patch_cut_short_anywhere_is_refused() -> None:
    for length in range(0, len(PATCH), 7):
        with pytest.raises(PatchRefused):
            rebuild(PATCH[:length])


def test_a_damaged_patch_is_refused_or_gives_what_check_memory_refuses() -> None:
    noise = random.Random(0)
    for _ in range(100):
        damaged = bytearray(PATCH)
        damaged[noise.randrange(len(PATCH))] ^= 1 << noise.randrange(8)
        try:
            assert len(rebuild(bytes(damaged))) == len(NEW)
        except PatchRefused:
            continue


def test_another_size_than_announced_is_refused_before_anything_is_written() -> None:
    with pytest.raises(PatchRefused, match="were announced"):
        rebuild(PATCH, new_bytes=len(NEW) + 1)


def test_a_patch_for_a_larger_base_is_refused() -> None:
    with pytest.raises(PatchRefused, match="outside its base"):
        rebuild(PATCH, old=OLD[:1000])


@pytest.mark.parametrize("sizes", [(1 << 40, 10, 10), (10, 1 << 40, 10), (-1, 10, 10), (10, -5, 10), (10, 10, -10)])
def test_header_sizes_out_of_bounds_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(PatchRefused):
        rebuild(b"BSDIFF40" + b"".join(map(_encode, sizes)) + bytes(100), new_bytes=10)


def test_a_bomb_is_refused_within_the_ram() -> None:
    control = make_patch([(0, 0, 0)] * 150_000, b"", b"", 10)
    with pytest.raises(PatchRefused, match="control stream is larger"):
        rebuild(control, new_bytes=10, ram_bytes=6_000_000)
    extra = make_patch([(0, 10, 0)], b"", bytes(5_000_000), 10)
    with pytest.raises(PatchRefused, match="extra stream is larger"):
        rebuild(extra, new_bytes=10)
    diff = make_patch([(10, 0, 0)], bytes(5_000_000), b"", 10)
    with pytest.raises(PatchRefused, match="longer than"):
        rebuild(diff, new_bytes=10)


@pytest.mark.parametrize("triples", [[(-1, 11, 0)], [(5, 4, 0)], [(5, 6, 0)], [(10, 0, -20), (0, 0, 0), (5, -5, 0)]])
def test_control_triples_that_contradict_the_size_are_refused(triples: list[tuple[int, int, int]]) -> None:
    with pytest.raises(PatchRefused):
        rebuild(make_patch(triples, bytes(20), bytes(20), 10), new_bytes=10)


def test_the_peak_is_counted_and_kept() -> None:
    report = delta.rebuild(PATCH, base=memoryview(OLD), new_bytes=len(NEW), ram_bytes=RAM, write=lambda _: None)
    assert 3_700_000 < report.peak_ram_bytes < 4 * 1024 * 1024
    with pytest.raises(PatchRefused, match="RAM"):
        rebuild(PATCH, ram_bytes=report.peak_ram_bytes - 1)
    assert rebuild(PATCH, ram_bytes=report.peak_ram_bytes) == NEW
