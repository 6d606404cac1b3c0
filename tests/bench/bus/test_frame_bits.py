"""Lengths of CAN frames: known values, the limits of the standard, and an independent count bit by bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.bus import frame_bits

FD_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


def bits_of(value: int, length: int) -> list[int]:
    return [value >> shift & 1 for shift in range(length - 1, -1, -1)]


def crc_of(bits: list[int]) -> int:
    """Return the shift register as the standard draws it."""
    crc = 0
    for bit in bits:
        feedback = bit ^ crc >> 14
        crc = crc << 1 & 0x7FFF
        if feedback:
            crc ^= 0x4599
    return crc


def stuffed(bits: list[int]) -> list[int]:
    """Return the bits as they are sent: a stuff bit counts for the next run."""
    sent: list[int] = []
    run = 0
    for bit in bits:
        run = run + 1 if sent and sent[-1] == bit else 1
        sent.append(bit)
        if run == 5:
            sent.append(1 - bit)
            run = 1
    return sent


def classic_bits_by_hand(can_id: int, data: bytes, *, extended: bool) -> int:
    bits = [0]
    if extended:
        bits += [*bits_of(can_id >> 18, 11), 1, 1, *bits_of(can_id & 262143, 18), 0, 0, 0]
    else:
        bits += [*bits_of(can_id, 11), 0, 0, 0]
    bits += bits_of(len(data), 4)
    for byte in data:
        bits += bits_of(byte, 8)
    bits += bits_of(crc_of(bits), 15)
    return len(stuffed(bits)) + 10 + 3


def test_crc_is_the_catalogue_s_crc_15_can() -> None:
    assert frame_bits.crc15(b"123456789") == 0x059E


def test_a_frame_without_stuff_bits_has_111_bits_with_intermission() -> None:
    # 1 + 11 + 3 + 4 + 64 + 15 + 10 + 3; some identifier and data give no stuff bit at all
    data = bytes([0x55] * 8)
    shortest = min(frame_bits.classic_frame_bits(can_id, data) for can_id in range(0x7F0))
    assert shortest == 111


def test_stuffing_never_exceeds_the_worst_case() -> None:
    # (34 + 64 - 1) // 4 = 24 stuff bits for a base frame with 8 data bytes
    assert max(frame_bits.classic_frame_bits(can_id, bytes(8)) for can_id in range(0x800)) <= 111 + 24


@given(can_id=st.integers(0, 0x7FF), data=st.binary(max_size=8))
def test_a_base_frame_counts_as_by_hand(can_id: int, data: bytes) -> None:
    assert frame_bits.classic_frame_bits(can_id, data) == classic_bits_by_hand(can_id, data, extended=False)


@given(can_id=st.integers(0, 0x1FFF_FFFF), data=st.binary(max_size=8))
def test_an_extended_frame_counts_as_by_hand(can_id: int, data: bytes) -> None:
    assert frame_bits.classic_frame_bits(can_id, data, extended=True) == classic_bits_by_hand(
        can_id, data, extended=True
    )


@given(st.sampled_from([b"\x00", b"\xff", b"\xf8", b"\x07"]), st.integers(1, 8))
def test_runs_of_equal_bits_count_as_by_hand(byte: bytes, length: int) -> None:
    assert frame_bits.classic_frame_bits(0, byte * length) == classic_bits_by_hand(0, byte * length, extended=False)


@given(
    can_id=st.integers(0, 0x7FF),
    data=st.sampled_from(FD_LENGTHS).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    brs=st.booleans(),
)
def test_an_fd_frame_counts_as_by_hand(can_id: int, data: bytes, brs: bool) -> None:
    head = [0, *bits_of(can_id, 11), 0, 0, 1, 0, int(brs)]
    tail = [0, *bits_of(FD_LENGTHS.index(len(data)), 4)]
    for byte in data:
        tail += bits_of(byte, 8)
    dynamic = len(stuffed(head + tail))
    if len(stuffed((head + tail)[:-1])) + 2 == dynamic:
        dynamic -= 1  # a stuff bit due after the last data bit is the first fixed one
    fixed = 4 + 17 + 6 if len(data) <= 16 else 4 + 21 + 7
    assert frame_bits.fd_frame_bits(can_id, data, brs=brs).total == dynamic + fixed + 10 + 3


def test_an_fd_frame_s_data_phase_is_faster() -> None:
    frame = frame_bits.fd_frame_bits(0x7E0, bytes(range(64)))
    assert frame.duration_s(500_000, 2_000_000) == pytest.approx(frame.nominal / 5e5 + frame.data / 2e6)
    assert frame.nominal < 40 < 512 < frame.data


def test_the_bucket_s_rate_lets_as_many_frames_pass_as_the_line() -> None:
    rate = frame_bits.tbf_rate_bit_s(500_000, 115.0)
    assert rate / 128 == pytest.approx(500_000 / 115.0, rel=1e-5)


def test_payload_limit_at_500_kbit_s() -> None:
    assert frame_bits.payload_limit_bytes_per_s(500_000, 125.0) == 28_000


def test_consecutive_frames_carry_the_payload_with_rising_sequence_numbers() -> None:
    payload = bytes(range(7 * 20))
    frames = list(frame_bits.consecutive_frames(payload))
    assert b"".join(frame[1:] for frame in frames) == payload
    assert [frame[0] for frame in frames] == [0x20 | (number + 1) & 0xF for number in range(20)]


def test_the_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        frame_bits.mean_classic_bits(0x7E0, [])
