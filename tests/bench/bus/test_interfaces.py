"""`otabench can`: the `ip link` lines, what `ip` says, and what a refusal means."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.bus import interfaces, link_state, system_commands
from otabench.bench.bus.interfaces import LinkSettings
from otabench.bench.errors import WrongUsage
from tests.command_line import run_otabench


def lines(kind: str, **settings: object) -> list[str]:
    channel = {"can": "can0"}.get(kind, f"{kind}0")
    wanted = LinkSettings(**settings)  # type: ignore[arg-type]
    return [interfaces.as_line(command) for command in interfaces.up_commands(channel, kind, wanted)]


def test_a_real_interface_is_down_while_its_bit_timing_is_set() -> None:
    assert lines("can", restart_ms=100) == [
        "ip link set can0 down",
        "ip link set can0 type can bitrate 500000 fd off listen-only off restart-ms 100",
        "ip link set can0 txqueuelen 1000",
        "ip link set can0 up",
    ]


def test_can_fd_has_a_data_bit_rate_the_nominal_one_without_another() -> None:
    assert "dbitrate 2000000 fd on" in lines("can", fd=True, data_bitrate=2_000_000)[1]
    assert "dbitrate 500000 fd on listen-only on" in lines("can", fd=True, listen_only=True)[1]


def test_an_interface_that_was_can_fd_is_set_back_to_classic() -> None:
    assert "bitrate 500000 fd off" in lines("can")[1]


def test_a_data_phase_slower_than_the_nominal_bit_rate_is_wrong_usage() -> None:
    with pytest.raises(WrongUsage, match=r"can0: --data-bitrate 250000 is below --bitrate 500000; .* at least as fast"):
        lines("can", fd=True, data_bitrate=250_000)


def test_a_virtual_interface_is_can_fd_by_its_mtu() -> None:
    assert lines("vcan", fd=True)[1] == "ip link set vcan0 mtu 72 txqueuelen 1000"
    assert lines("vcan")[1] == "ip link set vcan0 mtu 16 txqueuelen 1000"


def test_a_serial_interface_is_closed_and_opened_at_its_bit_rate() -> None:
    assert lines("slcan", bitrate=250_000, listen_only=True) == [
        "ip link set slcan0 down",
        "ip link set slcan0 type can bitrate 250000 listen-only on",
        "ip link set slcan0 txqueuelen 1000 up",
    ]
    assert interfaces.up_commands("slcan0", "slcan before Linux 6.0", LinkSettings()) == [
        ["ip", "link", "set", "slcan0", "txqueuelen", "1000", "up"]
    ]


@pytest.mark.parametrize(
    ("kind", "setting"), [("vcan", "listen_only"), ("vxcan", "restart_ms"), ("slcan", "fd"), ("slcan", "restart_ms")]
)
def test_a_setting_that_the_interface_has_not_is_wrong_usage(kind: str, setting: str) -> None:
    with pytest.raises(WrongUsage, match=f"{kind}0: --{setting.replace('_', '-')}: an interface of kind {kind}"):
        lines(kind, **{setting: 1})


def test_an_interface_off_the_bus_is_told_with_counters_and_remedy() -> None:
    link = link_state.parse(
        {
            "ifname": "can0",
            "flags": ["NOARP", "UP"],
            "mtu": 72,
            "txqlen": 10,
            "link_type": "can",
            "parentbus": "usb",
            "parentdev": "1-1:1.0",
            "linkinfo": {
                "info_kind": "can",
                "info_data": {
                    "state": "BUS-OFF",
                    "restart_ms": 0,
                    "ctrlmode": ["LISTEN-ONLY", "FD"],
                    "berr_counter": {"tx": 248, "rx": 3},
                    "bittiming": {"bitrate": 500_000},
                    "data_bittiming": {"bitrate": 2_000_000},
                },
                "info_xstats": {"bus_off": 1},
            },
        }
    )
    assert interfaces.describe(link) == (
        "can0: can, up, BUS-OFF, 500 kbit/s, CAN FD 2000 kbit/s, listen-only, errors sending 248, receiving 3, bus-off once, "
        "restart-ms 0, txqueuelen 10 (short: `ip link set can0 txqueuelen 1000`), on usb 1-1:1.0, "
        "off the bus: mend wiring or bit rate, then `ip link set can0 type can restart`"
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("RTNETLINK answers: Operation not permitted", "needs the capability CAP_NET_ADMIN, and this user is not root"),
        ('Cannot find device "can0"', "there is no such interface: plug the adapter in"),
        ("RTNETLINK answers: Invalid argument", "the driver refuses"),
        ("RTNETLINK answers: Device or resource busy", "Device or resource busy"),
    ],
)
def test_a_refusal_says_line_reason_and_remedy(said: str, expected: str) -> None:
    words = system_commands.why_refused(["ip", "link", "set", "can0", "up"], said, is_root=False)
    assert words.startswith("`ip link set can0 up`")
    assert expected in words


def test_print_runs_nothing() -> None:
    done = otabench_can("up", "can77", "--data-bitrate", "2000000", "--print")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("ip link set can77 type can bitrate 500000 dbitrate 2000000 fd on")


def otabench_can(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_otabench("can", *arguments, cwd=Path.cwd())


@pytest.fixture
def own_vcan() -> Iterator[str]:
    """A virtual interface of this test's own: vcan0 is everybody's."""
    name = "vcanupdown"
    if subprocess.run(["ip", "link", "add", name, "type", "vcan"], capture_output=True, check=False).returncode:
        pytest.skip(f"making {name} needs root (the guest kernel has it: WITH_CAN=guest)")
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


@pytest.mark.vcan
def test_an_interface_is_really_set_up_changed_and_taken_down(own_vcan: str) -> None:
    done = otabench_can("up", own_vcan, "--fd")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{own_vcan}: vcan, up, CAN FD, txqueuelen 1000"
    link = link_state.read(own_vcan)
    assert (link.is_up, link.mtu, link.tx_queue_length) == (True, 72, 1000)

    done = otabench_can("up", own_vcan, "--txqueuelen", "500", "--bitrate", "250000")
    assert done.returncode == 0, done.stderr
    assert "has no bit timing, --bitrate sets nothing" in done.stderr
    link = link_state.read(own_vcan)
    assert (link.is_up, link.mtu, link.tx_queue_length) == (True, 16, 500)

    assert otabench_can("down", own_vcan).stdout == f"ip link set {own_vcan} down\n"
    assert not link_state.read(own_vcan).is_up
    assert otabench_can("status", own_vcan).returncode == 1


@pytest.mark.vcan
def test_an_interface_that_is_not_there_is_one_line_with_its_remedy() -> None:
    done = otabench_can("up", "can77")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "there is no such interface: plug the adapter in; `ip -br link show type can` lists what is there" in line


@pytest.mark.vcan
def test_a_vcan_is_really_looked_at() -> None:
    link = link_state.read("vcan0")
    assert (link.kind, link.is_up) == ("vcan", True)
