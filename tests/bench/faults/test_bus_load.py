"""A bus's load as a process: what its control port says, and what is then on the bus."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from otabench.bench import ports
from otabench.bench.bus.batch_socket import BatchCanSocket
from otabench.bench.captures.statistics import BusStatistics
from otabench.bench.errors import EndpointError
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.launcher.process import Process, ProcessSpec, wait_ready
from otabench.bench.topology import bench_file
from tests.waiting import PATIENCE_S

OWN = sorted(bench_file.load().identifiers_on("powertrain"))
CLASSIC = {"can": {"interface": "socketcan", "channel": "vcan0", "fd": False}, "bitrate": 500_000, "data_bitrate": None}
SWITCHED = {
    "can": {"interface": "socketcan", "channel": "vcan0", "fd": True},
    "bitrate": 500_000,
    "data_bitrate": 2_000_000,
}
WITHOUT_KERNEL = {
    "can": {"interface": "udp_multicast", "channel": "239.74.163.9", "port": 32_000 + os.getpid() % 700, "fd": False},
    "bitrate": 500_000,
    "data_bitrate": None,
}
WINDOW_S = 3.0
WINDOWS = 6
TOLERANCE_PERCENT = 1.0

Start = Callable[[dict[str, Any]], ControlPort]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the load of a bus as the bench does; its control port."""
    with contextlib.ExitStack() as stack:

        def started(bus: dict[str, Any]) -> ControlPort:
            port = ControlPort("powertrain", ports.free_ports(1)[0], what="load of bus", timeout_s=PATIENCE_S)
            arguments = ["--bus", json.dumps(bus), "--name", "powertrain", "--control-port", str(port.port)]
            process = Process(
                ProcessSpec(
                    "load",
                    [sys.executable, "-m", "otabench.bench.faults.bus_load", *arguments, "--avoid", *map(str, OWN)],
                    tmp_path / "load.log",
                    port.is_up,
                )
            )
            process.start()
            stack.callback(process.stop)
            wait_ready([process], timeout_s=PATIENCE_S)
            return port

        yield started


def seen(bus: dict[str, Any], *, window_s: float = WINDOW_S) -> BusStatistics:
    """Return what comes by on the bus within a time, by the kernel's time stamps."""
    statistics = BusStatistics(bus["bitrate"], bus["data_bitrate"] or bus["bitrate"])
    with contextlib.closing(BatchCanSocket(bus["can"]["channel"])) as source:
        first_us = time.time_ns() // 1000
        ends = time.monotonic() + window_s + 0.1
        while time.monotonic() < ends:
            time.sleep(0.02)  # a batch gathers
            while frames := source.receive():
                for frame in frames:
                    if first_us <= frame.timestamp_us < first_us + window_s * 1e6:
                        statistics.count(frame)
    return statistics


def percent(statistics: BusStatistics) -> float:
    return 100 * statistics.bits / statistics.bitrate / WINDOW_S


def settled(bus: dict[str, Any], asked: float) -> BusStatistics:
    """Return what the bus carries once the cycles are corrected; a machine that others use may stand still for a window or two."""
    for _ in range(WINDOWS):
        carried = seen(bus)
        if abs(percent(carried) - asked) < TOLERANCE_PERCENT:
            break
    return carried


def measured_near(load: ControlPort, asked: float) -> dict[str, Any]:
    """Return the state whose measurement of one second is near what is asked; the machine may stand still for one of them too."""
    for _ in range(WINDOWS):
        state = load.state()
        if abs(state["measured_percent"] - asked) < 3 * TOLERANCE_PERCENT:
            break
    return state


@pytest.mark.vcan
@pytest.mark.parametrize(
    "bus", [pytest.param(CLASSIC, id="classic", marks=pytest.mark.exhaustive), pytest.param(SWITCHED, id="CAN FD")]
)
def test_the_bus_carries_the_share_asked_for(start: Start, bus: dict[str, Any]) -> None:
    load = start(bus)
    assert seen(bus, window_s=0.3).frames == 0, "nothing is sent until it is asked for"
    for asked in (60, 20):
        load.fault("load", share=asked)
        carried = settled(bus, asked)
        assert percent(carried) == pytest.approx(asked, abs=TOLERANCE_PERCENT)
        assert carried.by_id.keys().isdisjoint(OWN)
        state = measured_near(load, asked)
        assert state["asked_percent"] == asked
        assert state["measured_percent"] == pytest.approx(asked, abs=3 * TOLERANCE_PERCENT)
        assert state["bus_percent"] == state["measured_percent"], "nobody else is on this bus"
        assert state["identifiers"] == len(carried.by_id)
    load.clear()
    assert seen(bus, window_s=0.3).frames == 0
    assert load.state()["faults"] == []


@pytest.mark.vcan
def test_frames_of_a_bus_with_bit_rate_switch_are_fd_and_switched(start: Start) -> None:
    start(SWITCHED).fault("load", share=10, priority="lowest")
    with contextlib.closing(BatchCanSocket("vcan0")) as source:
        deadline = time.monotonic() + PATIENCE_S
        while not (frames := source.receive()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert all(frame.flags & 0x05 == 0x05 for frame in frames), "FD, BRS"
    assert all(frame.can_id & 0x8000_0000 for frame in frames), "29-bit identifiers"


@pytest.mark.vcan
def test_nothing_is_sent_once_the_process_has_ended(start: Start, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        port = ControlPort("powertrain", ports.free_ports(1)[0], timeout_s=PATIENCE_S)
        arguments = ["--bus", json.dumps(CLASSIC), "--name", "powertrain", "--control-port", str(port.port)]
        process = Process(
            ProcessSpec(
                "load",
                [sys.executable, "-m", "otabench.bench.faults.bus_load", *arguments],
                tmp_path / "load.log",
                port.is_up,
            )
        )
        process.start()
        stack.callback(process.stop)
        wait_ready([process], timeout_s=PATIENCE_S)
        port.fault("load", share=30)
        assert seen(CLASSIC, window_s=0.3).frames > 0
        process.kill()
    assert seen(CLASSIC, window_s=0.3).frames == 0


def test_it_works_on_an_interface_that_is_not_the_kernel_s(start: Start) -> None:
    load = start(WITHOUT_KERNEL)
    load.fault("load", share=5)
    assert load.state()["measured_percent"] == pytest.approx(5, abs=TOLERANCE_PERCENT)
    load.fault("load", share=0)
    assert load.state()["measured_percent"] is None


def test_its_state_tells_what_was_asked_for_and_the_seed_makes_the_frames(start: Start) -> None:
    load = start(WITHOUT_KERNEL)
    first = load.call("fault", kind="load", share=2, ids="0x500-0x53F", seed=7)
    assert first["name"] == "powertrain"
    assert first["faults"] == [{"kind": "load", "share": 2.0, "ids": "0x500-0x53F"}]
    assert (first["seed"], first["asked_percent"]) == (7, 2.0)
    assert load.call("seed", seed=8)["asked_percent"] == 2.0, "the load goes on, with other frames"
    cleared = load.call("clear")
    assert (cleared["seed"], cleared["asked_percent"], cleared["identifiers"]) == (8, 0.0, 0)


REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"op": "fault", "kind": "load", "share": 101}, "share 101: expected 0 to 100"),
    ({"op": "fault", "kind": "load"}, "load needs a share"),
    ({"op": "fault", "kind": "drop"}, "there is no fault 'drop' of a bus; known: load"),
    ({"op": "fault", "kind": "load", "share": 5, "seed": "x"}, "seed 'x': expected a whole number"),
    ({"op": "power"}, "no operation 'power'; there are state, fault, clear, seed"),
    ({"op": "fault", "kind": "load", "share": 5, "ids": "0x7E0"}, "the bench uses all of these itself"),
]


def test_what_it_cannot_do_is_refused_and_the_load_goes_on(start: Start) -> None:
    load = start(WITHOUT_KERNEL)
    load.fault("load", share=3)
    for message, expected in REFUSED:
        with pytest.raises(EndpointError) as refusal:
            load.call(**message)
        assert str(refusal.value).startswith("load of bus powertrain refuses ")
        assert expected in str(refusal.value)
        assert load.state()["asked_percent"] == 3.0


def test_a_bus_that_cannot_be_opened_is_named(start: Start) -> None:
    load = start({**CLASSIC, "can": {"interface": "socketcan", "channel": "vcan99", "fd": False}})
    with pytest.raises(EndpointError, match=r"bus load: vcan99: .*check that the interface is up"):
        load.fault("load", share=3)
    assert load.state()["faults"] == []
