"""Pacing: the bucket's rate follows from the real length of frames, and what cannot be paced says why."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import can
import pytest

from bench import frame_bits, pacing
from bench.topology import BusEntry

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
    assert "is no vcan" in done.reason


@pytest.mark.vcan
def test_a_paced_vcan_carries_as_many_frames_a_second_as_the_line() -> None:
    if Path("/sys/module/vcan/parameters/echo").read_text().strip() != "Y":
        pytest.skip("vcan is loaded without echo=1")
    mean = pacing.mean_frame_bits(CLASSIC, 0x7E0, [PAYLOAD])
    done = pacing.apply(CLASSIC, mean_bits=mean)
    try:
        assert done.applied, done.reason
        with (
            can.Bus(interface="socketcan", channel="vcan0") as sender,
            can.Bus(interface="socketcan", channel="vcan0") as receiver,
        ):
            seen = 0
            started = time.monotonic()
            for data in frame_bits.consecutive_frames(PAYLOAD[:7000], limit=10**6):
                sender.send(can.Message(arbitration_id=0x6A2, is_extended_id=False, data=data), timeout=2)
                while message := receiver.recv(0):  # its buffer holds a few hundred
                    seen += message.arbitration_id == 0x6A2
            while seen < 1000:
                message = receiver.recv(2)
                assert message is not None, f"only {seen} of 1000 frames came"
                seen += message.arbitration_id == 0x6A2
            rate = 1000 / (time.monotonic() - started)
    finally:
        pacing.remove(CLASSIC)
    line = 500_000 / mean
    assert 0.3 * line < rate < 1.03 * line  # never faster; slower only where the machine is
    shown = subprocess.run(["tc", "qdisc", "show", "dev", "vcan0"], capture_output=True, text=True, check=True).stdout
    assert "tbf" not in shown
