"""What is read of `ip`'s description of an interface, and that nothing else in the bench reads it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import otabench.bench
from otabench.bench.bus import link_state, system_commands
from otabench.bench.bus.link_state import LinkState, Traffic
from otabench.bench.errors import AdapterError, WrongUsage

RECORDED = Path(__file__).parents[1] / "doctor" / "data"


def printed(name: str) -> str:
    """Return what `ip` printed of a real interface."""
    return (RECORDED / f"ip_link_{name}.json").read_text(encoding="utf-8")


def recorded(name: str) -> LinkState:
    (entry,) = json.loads(printed(name))
    return link_state.parse(entry)


def answering(monkeypatch: pytest.MonkeyPatch, *, stdout: str = "", stderr: str = "", status: int = 0) -> None:
    """Put a program in the place of `ip` that prints this."""

    def query(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, status, stdout, stderr)

    monkeypatch.setattr(link_state, "query", query)


def test_a_controller_is_read_with_state_counts_and_traffic() -> None:
    link = recorded("can_busoff")
    assert (link.channel, link.kind, link.is_up, link.mtu, link.tx_queue_length) == ("can0", "slcan", True, 16, 1000)
    assert (link.state, link.bitrate, link.is_off_bus, link.bus_offs) == ("BUS-OFF", 500_000, True, 1)
    assert link.restart == "otabench can up can0 --bitrate 500000"
    assert (link.received, link.sent) == (Traffic(1, 2), Traffic(0, 7))
    assert link.events["error_passive"] == 1
    assert not link.has_error_counters


def test_a_virtual_interface_has_neither_state_nor_counters() -> None:
    link = recorded("vcan")
    assert link.is_virtual and link.is_up and not link.is_off_bus
    assert (link.state, link.bitrate, dict(link.events), link.queueing_discipline) == ("", 0, {}, "noqueue")


@pytest.mark.parametrize(
    ("flags", "is_off"), [(["UP", "LOWER_UP"], False), (["NO-CARRIER", "UP"], True), (["UP"], True), ([], False)]
)
def test_an_interface_that_is_up_without_carrier_is_off_the_bus(flags: list[str], is_off: bool) -> None:
    # NO-CARRIER comes up to a second after the carrier has gone; the controller may be active again by then
    entry = {"ifname": "can0", "flags": flags, "linkinfo": {"info_kind": "can", "info_data": {"state": "ERROR-ACTIVE"}}}
    assert link_state.parse(entry).is_off_bus is is_off


@pytest.mark.parametrize("entry", [{"ifname": "can3"}, {"ifname": "can3", "linkinfo": None, "stats64": None}])
def test_what_an_older_ip_leaves_out_is_zero_or_empty(entry: dict[str, Any]) -> None:
    assert link_state.parse(entry) == LinkState("can3", "can", False, 0, 0, restart="ip link set can3 type can restart")


def test_an_interface_that_is_not_can_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, stdout='[{"ifname": "lo", "mtu": 65536, "link_type": "loopback"}]')
    with pytest.raises(WrongUsage, match="lo is no CAN interface"):
        link_state.read("lo")


def test_the_empty_objects_of_other_interfaces_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, stdout=f"[{{}},{{}},{printed('vcan').strip()[1:]}")
    assert [link.channel for link in link_state.read_kind("vcan")] == ["vcan0"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"stderr": 'Cannot find device "can7"', "status": 1}, "there is no such interface: plug the adapter in"),
        ({"stdout": "2: can7: <NOARP>"}, "printed no JSON .*; iproute2 4.14 or later is needed"),
    ],
)
def test_ip_that_cannot_tell_is_an_error_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], expected: str
) -> None:
    answering(monkeypatch, **answer)
    with pytest.raises(AdapterError, match=expected):
        link_state.read("can7")


def test_a_program_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system_commands, "search_path", lambda: str(tmp_path))
    with pytest.raises(AdapterError, match=r"`ip` is not installed: setup/packages\.sh run"):
        link_state.read("can0")


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "ip"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    hanging.chmod(0o755)
    monkeypatch.setattr(system_commands, "search_path", lambda: str(tmp_path))
    monkeypatch.setattr(system_commands, "_TIMEOUT_S", 0.05)
    with pytest.raises(AdapterError, match=r"`ip -json .* can0` did not end within 0\.05 s"):
        link_state.read("can0")


def test_nothing_else_in_the_bench_reads_what_ip_prints() -> None:
    """Each member's meaning is written once: three readers of it had drifted apart before."""
    (package,) = otabench.bench.__path__
    readers = [path.name for path in Path(package).rglob("*.py") if "linkinfo" in path.read_text(encoding="utf-8")]
    assert readers == ["link_state.py"]
