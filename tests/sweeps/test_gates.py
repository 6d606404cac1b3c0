"""Which bus gets a frame gate, and how a fault of frames or a load finds its bus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from otabench.bench.errors import WrongUsage
from otabench.bench.faults.control_port import Fault
from otabench.bench.launcher import bus_faults
from otabench.bench.launcher.bus_faults import BusPorts
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.topology import bench_file

ECUS: dict[str, dict[str, Any]] = {
    "engine": {"bus": "powertrain", "request_id": 0x7E0, "response_id": 0x7E8},
    "radio": {"bus": "comfort"},
}
PORTS = BusPorts(gates={"powertrain": 7001}, loads={"powertrain": 7002, "comfort": 7003}, ecus=ECUS)
TWO_BUSES = bench_file.default_text().replace("ecus:", "  comfort: {channel: vcan1}\necus:", 1)


def test_a_bus_gets_a_gate_where_it_is_asked_for_or_a_fault_needs_it() -> None:
    default = bench_file.load()
    assert bus_faults.gated_buses(default, BenchOptions()) == []
    assert bus_faults.gated_buses(default, BenchOptions(faults=(Fault.parse("engine:boot-fail"),))) == []
    assert bus_faults.gated_buses(default, BenchOptions(frame_gate=True)) == ["powertrain"]
    assert bus_faults.gated_buses(default, BenchOptions(faults=(Fault.parse("engine:drop:every=50"),))) == [
        "powertrain"
    ]
    assert bus_faults.gated_buses(default.without_kernel_can(udp_ports=[43200]), BenchOptions(frame_gate=True)) == []


@pytest.mark.parametrize("target", ["bus", "powertrain", "engine"])
def test_a_gate_is_found_by_bus_or_ecu(target: str) -> None:
    assert PORTS.gate_of(target).port == 7001


@pytest.mark.parametrize(("target", "ports"), [("radio", PORTS), ("nothing", PORTS), ("bus", replace(PORTS, gates={}))])
def test_no_gate_is_wrong_usage_that_says_what_to_do(target: str, ports: BusPorts) -> None:
    with pytest.raises(WrongUsage, match=r"--frame-gate|known: engine, radio, powertrain"):
        ports.gate_of(target)


def test_a_load_is_found_by_its_bus_and_by_the_word_bus_where_there_is_but_one() -> None:
    assert PORTS.load_of("comfort").port == 7003
    assert replace(PORTS, loads={"powertrain": 7002}).load_of("bus").port == 7002


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("bus", "this bench has several buses; name one of them: powertrain, comfort"),
        ("body", "there is no bus 'body' in this bench; known: powertrain, comfort"),
        ("radio", "radio is an ECU, and a load is of a bus: name its bus, comfort"),
    ],
)
def test_a_load_of_what_is_no_bus_is_wrong_usage_that_names_the_buses(target: str, expected: str) -> None:
    with pytest.raises(WrongUsage) as refusal:
        PORTS.load_of(target)
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("bus", "load", True),
        ("engine", "drop", True),
        ("comfort", "clear", True),
        ("bus", "clear", True),
        ("engine", "clear", False),
        ("engine", "boot-fail", False),
    ],
)
def test_what_concerns_a_bus_is_told_from_what_concerns_an_ecu(target: str, kind: str, expected: bool) -> None:
    assert PORTS.concerns(target, kind) is expected


def test_a_fault_of_an_ecu_is_none_of_a_bus() -> None:
    with pytest.raises(WrongUsage, match="boot-fail is not a fault of a bus; those are: corrupt, delay, drop"):
        PORTS.set_fault("bus", "boot-fail", {})


@pytest.mark.parametrize(
    "text", ["bus:load:share=60", "bus:load:60%", "powertrain:load:0%", "bus:drop:every=9", "engine:drop:every=9"]
)
def test_a_fault_of_a_bus_can_be_asked_for_from_the_start(text: str) -> None:
    fault = Fault.parse(text)
    bus_faults.check(fault, bench_file.load(), BenchOptions(faults=(fault,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bus:load:60%", "several buses; name one of them: powertrain, comfort"),
        ("body:load:60%", "no bus 'body'"),
        ("comfort:load:101%", "share '101%': expected 0 to 100 per cent"),
        ("comfort:drop:every=9", "there is no ECU or bus with a frame gate 'comfort'"),
    ],
)
def test_one_that_could_never_be_set_is_refused_before_anything_is_started(text: str, expected: str) -> None:
    fault = Fault.parse(text)
    with pytest.raises(WrongUsage, match=expected):
        bus_faults.check(fault, bench_file.parse(TWO_BUSES, name="two"), BenchOptions(faults=(fault,)))
