"""Rebuilding from a patch: right results, bounded sizes, and every damage refused."""

from __future__ import annotations

import bz2
import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import bsdiff4
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otabench.ecu_firmware_sim.programming import delta
from otabench.ecu_firmware_sim.programming.delta import PatchRefused
from tests.ecu_firmware_sim.factory import code

RAM = 8_000_000
OLD, NEW = code("1.0.0", 60_000), code("2.0.0", 61_000)
PATCH = bsdiff4.diff(OLD, NEW)


def rebuild(patch: bytes, *, old: bytes = OLD, new_bytes: int = len(NEW), ram_bytes: int = RAM) -> bytes:
    pieces: list[bytes] = []
    delta.rebuild(patch, base=memoryview(old), new_bytes=new_bytes, ram_bytes=ram_bytes, write=pieces.append)
    assert max(map(len, pieces), default=0) <= 4096
    return b"".join(pieces)


def make_patch(
    triples: list[tuple[int, int, int]], diff: bytes, extra: bytes, new_bytes: int, *, level: int = 9
) -> bytes:
    control = b"".join(_encode(value) for triple in triples for value in triple)
    streams = [bz2.compress(part, level) for part in (control, diff, extra)]
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


MEASURE = """
import json, sys
from otabench.ecu_firmware_sim.programming import delta

def peak_bytes():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

old, patch, ram = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read(), int(sys.argv[3])
new_bytes = int.from_bytes(patch[24:32], "little")
out = open(sys.argv[4], "wb")
before = peak_bytes()
arrival = delta.Arrival(patch_bytes=len(patch), new_bytes=new_bytes, ram_bytes=ram)
for start in range(0, len(patch), 4093):
    arrival.take(patch[start : start + 4093])
report = delta.rebuild(arrival.give(), base=memoryview(old), new_bytes=new_bytes, ram_bytes=ram, write=out.write)
print(json.dumps([report.peak_ram_bytes, peak_bytes() - before]))
"""
PYTHON_BYTES = 512 * 1024
"""What the interpreter itself takes meanwhile: code, objects, pages only partly used."""


@pytest.mark.parametrize("level", [1, 9])
@pytest.mark.parametrize(("extra_bytes", "ram_bytes"), [(48_000, 4 << 20), (1_040_000, 6 << 20)])
def test_the_peak_measured_over_an_image_of_1_mib_stays_within_what_is_counted(
    tmp_path: Path, level: int, extra_bytes: int, ram_bytes: int
) -> None:
    """In a process of its own, by the kernel's count. Where most is extra data, the largest decoder is used in full."""
    old = random.Random(1).randbytes((1 << 20) - extra_bytes)
    new = bytearray(old)
    for at in range(0, len(new) - 8, 5000):
        new[at : at + 8] = b"changed!"
    extra = random.Random(2).randbytes(extra_bytes)
    diff = bytes((b - a) & 0xFF for a, b in zip(old, new, strict=True))
    patch = make_patch([(len(old), extra_bytes, 0)], diff, extra, 1 << 20, level=level)
    if level == 1 and extra_bytes == 48_000:
        ram_bytes = 1 << 20  # an ordinary patch, and an ECU of 1 MiB
    paths = [tmp_path / name for name in ("old", "patch", "new")]
    paths[0].write_bytes(old)
    paths[1].write_bytes(patch)
    argv = [sys.executable, "-c", MEASURE, str(paths[0]), str(paths[1]), str(ram_bytes), str(paths[2])]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    counted, measured = json.loads(done.stdout)
    print(f"level {level}: patch {len(patch)}, counted {counted}, measured {measured} of {ram_bytes} bytes")
    assert paths[2].read_bytes() == bytes(new) + extra
    assert counted <= ram_bytes
    assert measured <= counted + PYTHON_BYTES


def test_the_peak_is_counted_and_kept() -> None:
    report = delta.rebuild(PATCH, base=memoryview(OLD), new_bytes=len(NEW), ram_bytes=RAM, write=lambda _: None)
    assert 3_700_000 < report.peak_ram_bytes < 4 * 1024 * 1024
    with pytest.raises(PatchRefused, match="RAM"):
        rebuild(PATCH, ram_bytes=report.peak_ram_bytes - 1)
    assert rebuild(PATCH, ram_bytes=report.peak_ram_bytes) == NEW
