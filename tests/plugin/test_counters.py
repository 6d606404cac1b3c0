"""Error counters before and after a test: what makes a bus sick."""

from __future__ import annotations

from typing import Any

import pytest

from otabench.bench.bus import link_state
from otabench.bench.pytest_plugin import counters
from otabench.bench.pytest_plugin.counters import Counters


def link(*, state: str = "ERROR-ACTIVE", up: bool = True, tec: int = 0, rx_errors: int = 0, **xstats: int) -> Counters:
    """Return the counters of a CAN controller as `ip` reports it."""
    names = ("restarts", "bus_error", "arbitration_lost", "error_warning", "error_passive", "bus_off")
    entry: dict[str, Any] = {
        "ifname": "can0",
        "flags": ["NOARP", "UP", "LOWER_UP", "ECHO"] if up else ["NOARP", "ECHO"],
        "linkinfo": {
            "info_kind": "can",
            "info_data": {"state": state, "berr_counter": {"tx": tec, "rx": 0}, "restart_ms": 100},
            "info_xstats": {name: xstats.get(name, 0) for name in names},
        },
        "stats64": {
            "rx": {"bytes": 0, "packets": 0, "errors": rx_errors, "dropped": 0, "over_errors": 0, "multicast": 0},
            "tx": {"bytes": 0, "packets": 0, "errors": 0, "dropped": 0, "carrier_errors": 0, "collisions": 0},
        },
    }
    return counters.of_link(link_state.parse(entry))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (link(), link(), []),
        (link(bus_error=7, rx_errors=7), link(bus_error=7, rx_errors=7), []),
        (link(), link(restarts=1), []),
        (link(), link(bus_error=3, rx_errors=3), ["rx errors +3, bus error +3"]),
        (link(bus_error=4), link(bus_error=6, error_warning=1), ["bus error +2, error warning +1"]),
        (link(), link(state="ERROR-PASSIVE", tec=128), ["is ERROR-PASSIVE (TEC 128, REC 0)"]),
        (link(), link(state="BUS-OFF", tec=248, bus_off=1), ["is BUS-OFF (TEC 248, REC 0)", "bus off +1"]),
        (link(), link(up=False), ["the interface is down; `ip link set can0 up`"]),
    ],
)
def test_what_is_wrong_with_a_bus_is_named(before: Counters, after: Counters, expected: list[str]) -> None:
    found = counters.problems("can0", before, after)
    assert len(found) == len(expected)
    for problem, words in zip(found, expected, strict=True):
        assert problem.startswith("bus can0: ") and words in problem


def test_an_interface_that_is_not_there_has_no_counters() -> None:
    assert counters.read("can97") is None


@pytest.mark.vcan
def test_a_virtual_bus_is_healthy() -> None:
    read = counters.read("vcan0")
    assert read is not None
    assert read.up and read.state == "" and read.errors["rx errors"] == 0
    assert counters.problems("vcan0", read, read) == []
