"""The queueing discipline canline in the kernel: each frame by its own bits, arbitration, limits, refusals.

Judged by the discipline's own counters and by the kernel's time stamps of delivered frames, never by this process's clock
alone: the machine may be late at any time, but a line is never faster than its bit rate.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from otabench.bench.bus import canline, frame_bits, pacing
from otabench.bench.bus.batch_socket import BatchCanSocket
from otabench.bench.bus.canline import LineCounters
from otabench.bench.bus.frame import Frame
from otabench.bench.bus.frame_bits import FrameBits
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    needs(os.geteuid() == 0, "setting a queueing discipline needs root"),
    needs(pacing.kernel_has_canline() or os.environ.get("OTABENCH_KERNEL") == "guest", pacing.NO_CANLINE),
]

CHANNEL = "vcantest9"
EFF, RTR = 0x8000_0000, 0x4000_0000
BRS, ESI = 1, 2
SO_SNDBUFFORCE = 32
FD_SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


@dataclass(frozen=True)
class Sent:
    """A frame to be sent; ``flags`` are CAN FD's, None: a classic one. A remote frame's data gives only its length."""

    can_id: int
    data: bytes = b""
    flags: int | None = None

    def packed(self) -> bytes:
        if self.flags is None:
            return struct.pack("=IB3x8s", self.can_id, len(self.data), self.data)
        return struct.pack("=IBB2x64s", self.can_id, len(self.data), self.flags, self.data)

    def bits(self) -> FrameBits:
        extended, remote = bool(self.can_id & EFF), bool(self.can_id & RTR)
        number = self.can_id & 0x1FFF_FFFF
        if self.flags is not None:
            brs, esi = bool(self.flags & BRS), bool(self.flags & ESI)
            return frame_bits.fd_frame_bits(number, self.data, extended=extended, brs=brs, esi=esi)
        data = b"" if remote else self.data
        return FrameBits(
            frame_bits.classic_frame_bits(number, data, extended=extended, remote=remote, dlc=len(self.data))
        )


@pytest.fixture
def channel() -> Iterator[str]:
    make = ["ip", "link", "add", "dev", CHANNEL, "mtu", "72", "txqueuelen", "1000", "type", "vcan"]
    subprocess.run(make, check=True)
    try:
        subprocess.run(["ip", "link", "set", CHANNEL, "up"], check=True)
        yield CHANNEL
    finally:
        subprocess.run(["ip", "link", "del", CHANNEL], check=True)


@pytest.fixture
def receiver(channel: str) -> Iterator[BatchCanSocket]:
    opened = BatchCanSocket(channel)
    yield opened
    opened.close()


def sender(channel: str) -> socket.socket:
    opened = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    opened.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
    opened.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FILTER, b"")
    opened.bind((channel,))
    return opened


def received(receiver: BatchCanSocket, count: int) -> list[Frame]:
    frames: list[Frame] = []
    deadline = time.monotonic() + 60
    while len(frames) < count:
        assert time.monotonic() < deadline, f"only {len(frames)} of {count} frames came"
        frames += receiver.receive()
        time.sleep(0.001)
    return frames


def counters(channel: str) -> LineCounters:
    found = canline.read_line(channel)
    assert found is not None
    return found


def random_frame(dice: random.Random) -> Sent:
    """Of all kinds, and with data from stuffed at every fourth bit to not at all."""
    extended = dice.random() < 0.5
    can_id = (EFF | dice.getrandbits(29)) if extended else dice.getrandbits(11)
    if dice.random() < 0.2:
        can_id = EFF if extended else 0
    fd = dice.random() < 0.6
    size = dice.choice(FD_SIZES if fd else FD_SIZES[:9])
    data = dice.choice((dice.randbytes(size), b"\0" * size, b"\xff" * size, b"\x0f" * size, b"\x55" * size))
    if fd:
        return Sent(can_id, data, dice.choice((0, BRS, ESI, BRS | ESI)))
    return Sent(can_id | (RTR if dice.random() < 0.2 else 0), data)


def test_each_frame_takes_the_bits_that_the_reference_counts(channel: str, receiver: BatchCanSocket) -> None:
    # given a line that is quick, and frames of all kinds
    canline.set_line(channel, bitrate=1_000_000, data_bitrate=8_000_000)
    dice = random.Random(11898)
    busy_s = 0.0
    before = counters(channel)
    with sender(channel) as node:
        for _ in range(1500):
            frame = random_frame(dice)
            # when each is sent alone
            node.send(frame.packed())
            received(receiver, 1)
            # then the kernel counted exactly its bits
            after = counters(channel)
            expected = frame.bits()
            counted = FrameBits(after.nominal_bits - before.nominal_bits, after.data_bits - before.data_bits)
            assert counted == expected, frame
            busy_s += expected.duration_s(1_000_000, 8_000_000)
            before = after
    assert before.frames == 1500
    assert before.busy_s == pytest.approx(busy_s, abs=1500 * 1e-9)


def test_a_frame_keeps_the_line_for_its_own_time(channel: str, receiver: BatchCanSocket) -> None:
    """Short and long, badly stuffed, FD with and without bit-rate switch: a mean would give all the same spacing."""
    kinds = (
        Sent(0x100),
        Sent(0x100, b"\x55" * 8),
        Sent(0x100, b"\0" * 8),
        Sent(EFF | 0x12345, b"\x55" * 8),
        Sent(0x100, b"\x55" * 8, BRS),
        Sent(0x100, b"\x55" * 64, BRS),
        Sent(0x100, b"\x55" * 64, 0),
    )
    canline.set_line(channel, bitrate=10_000, data_bitrate=40_000)  # a frame takes longer than a timer is late
    with sender(channel) as node:
        for _ in range(20):
            for kind in kinds:
                node.send(kind.packed())
    stamps_us = [frame.timestamp_us for frame in received(receiver, 20 * len(kinds))]
    spacings: list[list[int]] = [[] for _ in kinds]
    for number, (earlier, later) in enumerate(pairwise(stamps_us), start=1):
        spacings[number % len(kinds)].append(later - earlier)
    for kind, spacing in zip(kinds, spacings, strict=True):
        expected_us = kind.bits().duration_s(10_000, 40_000) * 1e6
        assert statistics.median(spacing) == pytest.approx(expected_us, rel=0.05), kind


@pytest.mark.parametrize("fd", [False, True])
def test_the_rate_is_kept_over_thousands_of_frames(channel: str, receiver: BatchCanSocket, fd: bool) -> None:
    dice = random.Random(4)
    size, flags = (64, BRS) if fd else (8, None)
    frames = [Sent(0x7E0, dice.randbytes(size), flags) for _ in range(4000)]
    packed = [frame.packed() for frame in frames]
    # given a line that always has a frame to carry
    canline.set_line(channel, bitrate=500_000, data_bitrate=2_000_000, limit=len(frames))
    with sender(channel) as node:
        node.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 * 1024 * 1024)
        for frame_bytes in packed:
            node.send(frame_bytes)
        seen = received(receiver, len(frames))
    durations_s = [frame.bits().duration_s(500_000, 2_000_000) for frame in frames]
    stamps_s = [frame.timestamp_us / 1e6 for frame in seen]
    counted = counters(channel)
    # then the frames took their own time, and what the line says it lost because the machine was not there
    assert stamps_s[-1] - stamps_s[0] == pytest.approx(sum(durations_s[1:]) + counted.lost_s, abs=0.005)
    assert (counted.frames, counted.dropped_frames) == (4000, 0)
    assert counted.busy_s == pytest.approx(sum(durations_s), abs=4000 * 1e-9)


def test_idle_time_is_not_saved_up(channel: str, receiver: BatchCanSocket) -> None:
    # given a line that was idle
    canline.set_line(channel, bitrate=10_000)
    frame = Sent(0x123, b"\x55" * 8)
    with sender(channel) as node:
        for _ in range(5):
            time.sleep(0.05)
            # when one frame comes
            sent_s = time.time()
            node.send(frame.packed())
            # then it takes its whole time
            (seen,) = received(receiver, 1)
            assert seen.timestamp_us / 1e6 - sent_s >= frame.bits().duration_s(10_000) - 1e-5


def order_after_a_long_frame(channel: str, receiver: BatchCanSocket, queues: Sequence[Sequence[Sent]]) -> list[int]:
    """Return the identifiers in the order of delivery: each queue is a sender's, and all wait while the first frame is on the line."""
    canline.set_line(channel, bitrate=1_000)
    nodes = [sender(channel) for _ in range(len(queues) + 1)]
    try:
        nodes[0].send(Sent(0x7FF, b"\x55" * 8).packed())
        for node, queue in zip(nodes[1:], queues, strict=True):
            for frame in queue:
                node.send(frame.packed())
        assert receiver.receive() == [], "the machine was too slow to fill the queues in time"
        first, *others = received(receiver, 1 + sum(map(len, queues)))
    finally:
        for node in nodes:
            node.close()
    assert first.can_id == 0x7FF
    return [frame.can_id for frame in others]


def test_the_lowest_identifier_wins_and_each_sender_s_order_is_kept(channel: str, receiver: BatchCanSocket) -> None:
    one = [Sent(0x300), Sent(0x050), Sent(0x200)]
    other = [Sent(0x100), Sent(0x400), Sent(0x001)]
    assert order_after_a_long_frame(channel, receiver, [one, other]) == [0x100, 0x300, 0x050, 0x200, 0x400, 0x001]


def test_of_equal_base_identifiers_data_beats_remote_and_base_beats_extended(
    channel: str, receiver: BatchCanSocket
) -> None:
    extended = EFF | 0x100 << 18
    waiting = [extended | RTR, extended | 1, extended, 0x100 | RTR, 0x100]
    order = order_after_a_long_frame(channel, receiver, [[Sent(can_id)] for can_id in waiting])
    assert order == [0x100, 0x100 | RTR, extended, extended | RTR, extended | 1]


def test_at_the_limit_nothing_is_lost_and_beyond_it_the_sender_is_told(channel: str, receiver: BatchCanSocket) -> None:
    canline.set_line(channel, bitrate=1_000, limit=10)
    with sender(channel) as node:
        for number in range(10):
            node.send(Sent(number).packed())
        with pytest.raises(OSError) as refused:
            node.send(Sent(0x7FF).packed())
        assert refused.value.errno == errno.ENOBUFS
        assert [frame.can_id for frame in received(receiver, 10)] == list(range(10))
    assert (counters(channel).frames, counters(channel).dropped_frames) == (10, 1)


def test_a_line_that_is_taken_off_lets_frames_through_at_once(channel: str, receiver: BatchCanSocket) -> None:
    canline.set_line(channel, bitrate=1_000)
    with sender(channel) as node:
        node.send(Sent(0x111, bytes(8)).packed())  # dropped with the line
        canline.remove(channel)
        node.send(Sent(0x222, bytes(8)).packed())
        assert [frame.can_id for frame in received(receiver, 1)] == [0x222]
    assert canline.read_line(channel) is None
    canline.remove(channel)  # where none is: nothing


@pytest.mark.parametrize(
    "values",
    [
        {"bitrate": 0},
        {"bitrate": 500_000, "data_bitrate": 0},
        {"bitrate": 500_000, "limit": 0},
    ],
)
def test_a_zero_is_refused_and_no_line_is_set(channel: str, values: dict[str, int]) -> None:
    with pytest.raises(OSError) as refused:
        canline.set_line(channel, **values)
    assert refused.value.errno in (errno.EINVAL, errno.ERANGE)
    assert "range" in str(refused.value)
    assert canline.read_line(channel) is None


def test_without_a_bit_rate_the_kernel_says_what_is_missing(channel: str) -> None:
    done = subprocess.run(
        ["tc", "qdisc", "add", "dev", channel, "root", "canline"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "the bit rate is missing" in done.stderr


def test_tc_shows_a_line_and_its_drops(channel: str) -> None:
    canline.set_line(channel, bitrate=1_000, limit=1)
    with sender(channel) as node:
        node.send(Sent(1, bytes(8)).packed())
        with pytest.raises(OSError):
            node.send(Sent(2).packed())
    shown = subprocess.run(["tc", "-s", "qdisc", "show", "dev", channel], capture_output=True, text=True, check=True)
    assert "qdisc canline 1: root" in shown.stdout
    assert "dropped 1" in shown.stdout


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(OSError) as refused:
        canline.set_line("vcantest8", bitrate=500_000)
    assert refused.value.errno == errno.ENODEV


def test_the_command_for_sudo_sets_a_line_and_says_what_the_kernel_says(channel: str) -> None:
    command = [sys.executable, "-m", "otabench.bench.bus.canline", channel]
    assert subprocess.run([*command, "500000", "2000000"], check=False).returncode == 0
    assert counters(channel).frames == 0
    refused = subprocess.run([*command, "0", "0"], capture_output=True, text=True, check=False)
    assert refused.returncode in (errno.EINVAL, errno.ERANGE)
    assert "range" in refused.stderr and "Traceback" not in refused.stderr
    misused = subprocess.run([*command, "fast", "1"], capture_output=True, text=True, check=False)
    assert misused.returncode == errno.EINVAL
    assert "usage" in misused.stderr
