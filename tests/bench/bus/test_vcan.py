"""The virtual interfaces that a bench file names: made where this user may, otherwise answered with the line that makes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.bus import environment, system_commands, vcan
from otabench.bench.doctor import bus_probe
from otabench.bench.errors import BenchError
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology

ABSENT = "vcan61"


def two_buses(second: str) -> Topology:
    """Return the built-in bench with a second bus, which carries adas."""
    text = bench_file.default_text()
    first = text[text.index("  powertrain:") : text.index("ecus:")].split("\n  #")[0].rstrip()
    added = first.replace("powertrain", "comfort").replace("vcan0", second)
    text = text.replace(first, f"{first}\n{added}")
    head, tail = text.split("  adas:", 1)
    return bench_file.parse(f"{head}  adas:{tail.replace('bus: powertrain', 'bus: comfort', 1)}", name="x")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that would be made; vcan0 is there, and everything may be made."""
    names: list[str] = []

    def ensure(name: str) -> bool:
        names.append(name)
        return True

    monkeypatch.setattr(vcan, "exists", lambda name: name == "vcan0")
    monkeypatch.setattr(vcan, "can_make", lambda: True)
    monkeypatch.setattr(vcan, "ensure", ensure)
    return names


def test_exactly_the_missing_virtual_interfaces_are_made(made: list[str]) -> None:
    said: list[str] = []
    vcan.make_missing(two_buses(ABSENT).buses, say=said.append)
    assert (made, said) == ([ABSENT], [f"bus comfort: {ABSENT} made"])


def test_an_adapters_interface_is_never_made(made: list[str]) -> None:
    vcan.make_missing(two_buses("can0").buses, say=lambda _: None)
    assert made == []


@pytest.mark.parametrize("may", [True, False])
def test_a_check_promises_what_a_bench_would_make_and_makes_nothing(
    made: list[str], monkeypatch: pytest.MonkeyPatch, may: bool
) -> None:
    monkeypatch.setattr(vcan, "can_make", lambda: may)
    bus = two_buses(ABSENT).buses["comfort"]
    assert (bus_probe.problem(bus) is None) == may == (environment.virtual_bus_problem(ABSENT) is None)
    assert ("a bench that comes up makes it" in bus_probe.describe(bus)) == may
    assert made == []


@pytest.mark.parametrize(
    ("why_none", "first"),
    [
        ("", f"run `sudo setup/vcan.sh {ABSENT}`, or the command by `setup/with-can`"),
        ("not built in", "this kernel has no CAN: run the command by `setup/with-can`"),
    ],
)
def test_who_may_not_make_it_gets_the_line_that_does(
    made: list[str], monkeypatch: pytest.MonkeyPatch, why_none: str, first: str
) -> None:
    monkeypatch.setattr(vcan, "can_make", lambda: False)
    monkeypatch.setattr(environment, "why_kernel_has_no_can", lambda: why_none)
    monkeypatch.setattr(environment, "interface_problem", absent_only(environment.interface_problem))
    with pytest.raises(BenchError, match=rf"bus comfort: .* on this kernel; {first}$"):
        environment.usable_topology(two_buses(ABSENT), kernel_can=True, make_vcans=True)
    assert made == []


def absent_only(real: object) -> object:
    """Judge ``ABSENT`` alone: this kernel need not have vcan0."""
    return lambda channel, **settings: real(channel, **settings) if channel == ABSENT else None  # type: ignore[operator]


@pytest.mark.parametrize(
    ("effective", "sudo", "expected"),
    [("0000000000001000", False, True), ("0000000000000000", False, False), ("0000000000000000", True, True)],
)
def test_the_right_counts_not_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effective: str, sudo: bool, expected: bool
) -> None:
    """Root in a container may not change interfaces; another user may by sudo."""
    for name in ("ip", "modprobe", *(["sudo"] if sudo else [])):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "status").write_text(f"Name:\tpython\nCapEff:\t{effective}\n")
    monkeypatch.setattr("otabench.bench.bus.system_commands.search_path", lambda: str(tmp_path))
    monkeypatch.setattr(system_commands, "_STATUS", tmp_path / "status")
    assert vcan.can_make() is expected


@pytest.fixture
def absent() -> Iterator[str]:
    yield ABSENT
    if vcan.exists(ABSENT):
        vcan.remove(ABSENT)


@pytest.mark.vcan
def test_a_made_interface_is_up_with_the_settings_of_the_setup_script(absent: str) -> None:
    if not vcan.can_make():
        pytest.skip("this user may not make interfaces")
    # given a bench file with a bus that does not exist; when the bench checks its surroundings, then the bus exists
    said: list[str] = []
    topology, kernel_can = environment.usable_topology(
        two_buses(absent), kernel_can=True, make_vcans=True, say=said.append
    )
    assert kernel_can and said == [f"bus comfort: {absent} made"] and len(topology.buses) == 2
    device = Path("/sys/class/net", absent)
    assert [(device / name).read_text().strip() for name in ("mtu", "tx_queue_len")] == ["72", "1000"]
    assert subprocess.run(["ip", "link", "show", absent, "up"], capture_output=True, check=True).stdout
    # and again there is nothing to do
    environment.usable_topology(two_buses(absent), kernel_can=True, make_vcans=True, say=said.append)
    assert len(said) == 1
