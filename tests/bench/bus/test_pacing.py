"""Pacing: exactly where the kernel can, else by a bucket from the real length of frames; what cannot be paced says why."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import can
import pytest

from otabench.bench.bus import canline, frame_bits, pacing
from otabench.bench.bus.batch_socket import BatchCanSocket
from otabench.bench.bus.frame import Frame
from otabench.bench.topology.entries import BusEntry

CLASSIC = BusEntry(channel="vcan0")
FD = BusEntry(channel="vcan0", fd=True, data_bitrate=2_000_000)
PAYLOAD = random.Random(1).randbytes(64 * 1024)


def test_the_mean_of_random_payload_lies_between_the_shortest_and_the_worst_frame() -> None:
    mean = pacing.mean_frame_bits(CLASSIC, 0x7E0, [PAYLOAD])
    exact = frame_bits.mean_classic_bits(0x7E0, frame_bits.consecutive_frames(PAYLOAD, limit=10**6))
    assert mean == pytest.approx(exact, rel=0.003)
    assert 113 < mean < 119


def test_an_fd_frame_s_data_phase_shortens_the_mean() -> None:
    slow = pacing.mean_frame_bits(FD.model_copy(update={"data_bitrate": None}), 0x7E0, [PAYLOAD])
    fast = pacing.mean_frame_bits(FD, 0x7E0, [PAYLOAD])
    assert 570 < slow < 640
    assert 31 + 535 / 4 < fast < 31 + 610 / 4


@pytest.mark.parametrize("bus", [BusEntry(channel="can0"), BusEntry(interface="udp_multicast", channel="239.74.163.2")])
def test_a_bus_that_is_no_vcan_is_left_alone(bus: BusEntry) -> None:
    done = pacing.apply(bus, mean_bits=115)
    assert not done.applied
    assert "is not a vcan" in done.reason


@pytest.fixture
def line() -> Iterator[None]:
    if Path("/sys/module/vcan/parameters/echo").read_text().strip() != "Y":
        pytest.skip("vcan is loaded without echo=1")
    yield
    pacing.remove(CLASSIC)


@pytest.mark.vcan
@pytest.mark.parametrize("bus", [CLASSIC, FD])
def test_where_the_kernel_has_canline_pacing_is_exact(line: None, bus: BusEntry) -> None:
    if not pacing.kernel_has_canline() and os.environ.get("OTABENCH_KERNEL") != "guest":
        pytest.skip(pacing.NO_CANLINE)
    done = pacing.apply(bus, mean_bits=115)
    assert (done.applied, done.pace, done.reason) == (True, pacing.EXACT, "")
    assert done.describe() == "paced to 500 kbit/s, exact"
    counted = pacing.counters(bus)
    assert counted is not None
    assert counted.frames == 0
    pacing.remove(bus)
    assert pacing.counters(bus) is None


@pytest.mark.vcan
def test_where_it_has_none_a_bucket_paces_by_the_mean_and_says_so(line: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a line left by another run, and a kernel that does not know what it is asked for
    pacing.apply(CLASSIC, mean_bits=115)
    monkeypatch.setattr(canline, "KIND", "canline2")
    # when
    done = pacing.apply(CLASSIC, mean_bits=115)
    # then
    assert (done.applied, done.pace, done.tbf_rate_bit_s) == (True, pacing.MEAN, 556_522)
    assert done.describe() == f"paced to 500 kbit/s, mean frame length: {pacing.NO_CANLINE}"
    assert "tbf" in shown()
    assert pacing.counters(CLASSIC) is None


@pytest.mark.vcan
def test_a_vcan_paced_by_the_mean_is_no_faster_than_the_line(line: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canline, "KIND", "canline2")
    mean = pacing.mean_frame_bits(CLASSIC, 0x7E0, [PAYLOAD])
    done = pacing.apply(CLASSIC, mean_bits=mean)
    assert done.applied, done.reason
    receiver = BatchCanSocket("vcan0")
    try:
        frames: list[Frame] = []
        with can.Bus(interface="socketcan", channel="vcan0") as sender:
            for data in frame_bits.consecutive_frames(PAYLOAD[:7000], limit=10**6):
                sender.send(can.Message(arbitration_id=0x6A2, is_extended_id=False, data=data), timeout=2)
                frames += receiver.receive()
        deadline = time.monotonic() + 30
        while len(frames) < 1000:
            assert time.monotonic() < deadline, f"only {len(frames)} of 1000 frames came"
            frames += receiver.receive()
            time.sleep(0.001)
    finally:
        receiver.close()
    took_s = (frames[-1].timestamp_us - frames[0].timestamp_us) / 1e6
    burst_frames = pacing.CLASSIC_BURST_BYTES * 8 / frame_bits.TBF_CLASSIC_FRAME_BITS
    assert took_s > (999 - burst_frames) * mean / 500_000 * 0.99
    pacing.remove(CLASSIC)
    assert "tbf" not in shown()


def shown() -> str:
    return subprocess.run(["tc", "qdisc", "show", "dev", "vcan0"], capture_output=True, text=True, check=True).stdout
