"""The container of the metadata window: what was packed is read, everything else is refused by name."""

from __future__ import annotations

import pytest

from otabench.proto.metadata_window import MAX_ROOTS, MalformedWindow, WindowContents, pack, parse, without_roots_until

ROOTS, TARGETS = [b'{"root": 2}', b'{"root": 3}'], b'{"targets": 1}'
TIME = b"OTAT"
PACKED = pack(ROOTS, TARGETS, time=TIME)


def test_what_was_packed_is_read() -> None:
    assert parse(PACKED) == WindowContents(tuple(ROOTS), TARGETS, TIME)
    assert parse(pack([], TARGETS, time=TIME)) == WindowContents((), TARGETS, TIME)
    assert parse(pack(ROOTS, TARGETS)) == WindowContents(tuple(ROOTS), TARGETS)


def test_without_roots_the_window_holds_the_targets_alone() -> None:
    assert pack([], TARGETS) == TARGETS
    assert parse(TARGETS) == WindowContents((), TARGETS)


def test_roots_that_a_receiver_has_are_left_out() -> None:
    roots = [b'{"signed": {"version": %d}}' % version for version in (2, 3, 4)]
    window = pack(roots, TARGETS, time=TIME)
    assert without_roots_until(window, 1) == window
    assert without_roots_until(window, 3) == pack(roots[2:], TARGETS, time=TIME)
    assert without_roots_until(pack(roots, TARGETS), 4) == TARGETS
    with pytest.raises(MalformedWindow, match="not metadata"):
        without_roots_until(pack([b"{}"], TARGETS), 1)


@pytest.mark.parametrize("length", range(5, len(PACKED)))
def test_a_container_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MalformedWindow):
        parse(PACKED[:length])


@pytest.mark.parametrize(
    "data",
    [
        PACKED + b" ",
        PACKED.replace(b"\x01\x00\x00\x00\x0b", b"\x07\x00\x00\x00\x0b", 1),
        pack([b"{}"] * (MAX_ROOTS + 1), TARGETS),
        PACKED.replace(b"\x03\x00\x00\x00\x04OTAT", b"\x03\x00\x00\x00\x04OTAT" * 2),
    ],
)
def test_a_container_with_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedWindow):
        parse(data)
