"""Which bus gets a frame gate, and how a fault of frames finds it."""

from __future__ import annotations

from typing import Any

import pytest

from bench import gates, topology
from bench.control_port import Fault
from bench.errors import WrongUsage
from bench.options import BenchOptions

GATES = {"powertrain": 7001}
ECUS: dict[str, dict[str, Any]] = {
    "engine": {"bus": "powertrain", "request_id": 0x7E0, "response_id": 0x7E8},
    "radio": {"bus": "comfort"},
}


def test_a_bus_gets_a_gate_where_it_is_asked_for_or_a_fault_needs_it() -> None:
    default = topology.load()
    assert gates.gated_buses(default, BenchOptions()) == []
    assert gates.gated_buses(default, BenchOptions(faults=(Fault.parse("engine:boot-fail"),))) == []
    assert gates.gated_buses(default, BenchOptions(frame_gate=True)) == ["powertrain"]
    assert gates.gated_buses(default, BenchOptions(faults=(Fault.parse("engine:drop:every=50"),))) == ["powertrain"]
    assert gates.gated_buses(default.without_kernel_can(udp_ports=[43200]), BenchOptions(frame_gate=True)) == []


@pytest.mark.parametrize("target", ["bus", "powertrain", "engine"])
def test_a_gate_is_found_by_bus_or_ecu(target: str) -> None:
    assert gates.gate_of(target, gates=GATES, ecus=ECUS).port == 7001


@pytest.mark.parametrize(("target", "found"), [("radio", GATES), ("nothing", GATES), ("bus", {})])
def test_no_gate_is_wrong_usage_that_says_what_to_do(target: str, found: dict[str, int]) -> None:
    with pytest.raises(WrongUsage, match=r"--frame-gate|known: engine, radio, powertrain"):
        gates.gate_of(target, gates=found, ecus=ECUS)
