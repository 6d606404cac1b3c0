"""SocketCAN interfaces set up, taken down and looked at: which `ip link` lines that takes, and what `ip` says back.

The command lines are pure functions. Rules: an interface is taken down before its bit timing changes. A virtual one (vcan, vxcan) has
no bit timing; its MTU makes it CAN FD. A serial one (slcan) has neither CAN FD nor a restart, and before Linux 6.0 no settings at all:
`slcand` set its bit rate. Every interface gets a transmit queue of 1000 frames, as the kernel's 10 do not hold one ISO-TP block.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otabench.bench.errors import AdapterError, WrongUsage

TX_QUEUE_LENGTH: Final = 1000
_CAN_MTU: Final = 16
CANFD_MTU: Final = 72
_WITHOUT_TIMING: Final = ("vcan", "vxcan")
_OLD_SLCAN: Final = "slcan before Linux 6.0"
_SLCAN_BIT_RATES: Final = [10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000]
_UNKNOWN_BIT_RATE: Final = 0xFFFF_FFFF
"""What the slcan driver says where `slcand` has set the bit rate."""


@dataclass(frozen=True)
class LinkSettings:
    """How an interface is to be set up. Bit rates in bit/s; ``restart_ms`` 0: it stays bus-off."""

    bitrate: int = 500_000
    data_bitrate: int | None = None
    fd: bool = False
    listen_only: bool = False
    restart_ms: int = 0
    tx_queue_length: int = TX_QUEUE_LENGTH


@dataclass(frozen=True)
class LinkState:
    """An interface as `ip` describes it. ``kind``: vcan, vxcan, can (any driver with bit timing), slcan or an old one."""

    channel: str
    kind: str
    is_up: bool
    mtu: int
    tx_queue_length: int
    state: str = ""
    """ERROR-ACTIVE, ERROR-WARNING, ERROR-PASSIVE, BUS-OFF, STOPPED; empty where there is none."""
    bitrate: int = 0
    data_bitrate: int = 0
    restart_ms: int = 0
    modes: tuple[str, ...] = ()
    tx_errors: int = 0
    rx_errors: int = 0
    bus_offs: int = 0
    is_off: bool = False
    """Off the bus: the kernel throws away what is sent."""
    restart: str = ""
    """How it comes back then."""
    parent: str = ""
    """The device that carries it, such as a USB path."""


def parse_link(text: str) -> LinkState:
    """Return what ``ip -json -details -statistics link show dev CHANNEL`` printed.

    Raises:
        WrongUsage: that is no CAN interface.
    """
    (link,) = json.loads(text)
    channel = str(link["ifname"])
    if link.get("link_type") != "can":
        raise WrongUsage(
            f"{channel} is no CAN interface (it is {link.get('link_type')}); `ip link show type can` lists them"
        )
    info: dict[str, Any] = link.get("linkinfo", {})
    data: dict[str, Any] = info.get("info_data", {})
    counters: dict[str, Any] = info.get("info_xstats", {})
    berr: dict[str, Any] = data.get("berr_counter", {})
    kind = str(info.get("info_kind", "can"))
    if is_slcan(link):
        kind = "slcan"
    elif "info_kind" not in info and channel.startswith("slcan"):
        kind = _OLD_SLCAN
    return LinkState(
        channel=channel,
        kind=kind,
        is_up="UP" in link.get("flags", ()),
        mtu=int(link["mtu"]),
        tx_queue_length=int(link.get("txqlen", 0)),
        state=str(data.get("state", "")),
        bitrate=bit_rate(link),
        data_bitrate=int(data.get("data_bittiming", {}).get("bitrate", 0)),
        restart_ms=int(data.get("restart_ms", 0)),
        modes=tuple(str(mode) for mode in data.get("ctrlmode", ())),
        tx_errors=int(berr.get("tx", 0)),
        rx_errors=int(berr.get("rx", 0)),
        bus_offs=int(counters.get("bus_off", 0)),
        is_off=is_off(link),
        restart=restart_line(link),
        parent=f"{link['parentbus']} {link['parentdev']}" if "parentdev" in link and "parentbus" in link else "",
    )


def is_slcan(link: Mapping[str, Any]) -> bool:
    """Return whether an entry of `ip -j -d link` is of the slcan driver, whatever its name: by the bit rates that it takes."""
    return _data(link).get("bitrate_const") == _SLCAN_BIT_RATES


def bit_rate(link: Mapping[str, Any]) -> int:
    """Return the nominal bit rate of an entry of `ip -j -d link`; 0 if it is unknown."""
    data = _data(link)
    found = int((data.get("bittiming") or {}).get("bitrate") or data.get("bittiming_bitrate") or 0)
    return 0 if found == _UNKNOWN_BIT_RATE else found


def is_off(link: Mapping[str, Any]) -> bool:
    """Return whether an entry of `ip -j -d link` is off the bus: by its state, or up without carrier (an adapter that came back by itself
    does not bring the kernel's carrier back)."""
    flags = link.get("flags", ())
    without_carrier = "UP" in flags and "NO-CARRIER" in flags and "LOWER_UP" not in flags
    return _data(link).get("state") == "BUS-OFF" or without_carrier


def restart_line(link: Mapping[str, Any]) -> str:
    """Return how an interface comes back from bus-off. The slcan driver has no restart; taken down and set up again it closes and opens the
    adapter, but only where the kernel knows the bit rate."""
    name = str(link["ifname"])
    if is_slcan(link):
        return f"otabench can up {name} --bitrate {bit_rate(link) or 'RATE'}"
    return f"ip link set {name} type can restart"


def _data(link: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict((link.get("linkinfo") or {}).get("info_data") or {})


def kind_by_name(channel: str) -> str:
    """Return the kind of an interface that is not there to be asked."""
    return next((kind for kind in (*_WITHOUT_TIMING, "slcan") if channel.startswith(kind)), "can")


def describe(link: LinkState) -> str:
    """Return one line for people."""
    words = [f"{link.channel}: {link.kind}", "up" if link.is_up else f"down (`ip link set {link.channel} up`)"]
    if link.state and link.is_up:
        words.append(link.state)
    if link.bitrate:
        words.append(f"{link.bitrate // 1000} kbit/s")
    if link.mtu == CANFD_MTU:
        words.append(f"CAN FD {link.data_bitrate // 1000} kbit/s" if link.data_bitrate else "CAN FD")
    words += [mode.lower() for mode in link.modes if mode not in ("FD",)]
    if link.state and link.kind != "slcan":
        words.append(f"errors sending {link.tx_errors}, receiving {link.rx_errors}")
    if link.state:
        words.append("bus-off once" if link.bus_offs == 1 else f"bus-off {link.bus_offs} times")
    if link.state and link.kind != "slcan":
        words.append(f"restart-ms {link.restart_ms}")
    words.append(f"txqueuelen {link.tx_queue_length}")
    if link.tx_queue_length < TX_QUEUE_LENGTH:
        words[-1] += f" (short: `ip link set {link.channel} txqueuelen {TX_QUEUE_LENGTH}`)"
    if link.parent:
        words.append(f"on {link.parent}")
    if link.is_off:
        words.append(f"off the bus: mend wiring or bit rate, then `{link.restart}`")
    return ", ".join(words)


def up_commands(channel: str, kind: str, wanted: LinkSettings) -> list[list[str]]:
    """Return the lines that set an interface up.

    Raises:
        WrongUsage: a setting that this kind of interface has not.
    """
    queue = ["txqueuelen", str(wanted.tx_queue_length)]
    if kind in _WITHOUT_TIMING:
        _refuse(channel, kind, {"--listen-only": wanted.listen_only, "--restart-ms": bool(wanted.restart_ms)})
        mtu = CANFD_MTU if wanted.fd else _CAN_MTU
        return [_link(channel, "down"), _link(channel, "mtu", str(mtu), *queue), _link(channel, "up")]
    if kind == _OLD_SLCAN:
        unknown = {"--fd": wanted.fd, "--listen-only": wanted.listen_only, "--restart-ms": bool(wanted.restart_ms)}
        _refuse(channel, kind, unknown)
        return [_link(channel, *queue, "up")]
    if kind == "slcan":
        _refuse(channel, kind, {"--fd": wanted.fd, "--restart-ms": bool(wanted.restart_ms)})
        timing = ["type", "can", "bitrate", str(wanted.bitrate), "listen-only", "on" if wanted.listen_only else "off"]
        return [_link(channel, "down"), _link(channel, *timing), _link(channel, *queue, "up")]
    data_bitrate = wanted.data_bitrate or wanted.bitrate
    if data_bitrate < wanted.bitrate:
        raise WrongUsage(
            f"{channel}: --data-bitrate {data_bitrate} is below --bitrate {wanted.bitrate}; "
            "CAN FD's data phase is at least as fast"
        )
    timing = ["type", "can", "bitrate", str(wanted.bitrate)]
    # What is not asked for is switched off: the interface may have it from before.
    timing += ["dbitrate", str(data_bitrate), "fd", "on"] if wanted.fd else ["fd", "off"]
    timing += ["listen-only", "on" if wanted.listen_only else "off", "restart-ms", str(wanted.restart_ms)]
    return [_link(channel, "down"), _link(channel, *timing), _link(channel, *queue), _link(channel, "up")]


def up_line(channel: str, *, bitrate: int, data_bitrate: int | None = None, fd: bool = False) -> str:
    """Return the command that sets an interface up for a bus of the bench file."""
    words = ["otabench", "can", "up", channel]
    if not channel.startswith(_WITHOUT_TIMING):
        words += ["--bitrate", str(bitrate)]
        words += ["--data-bitrate", str(data_bitrate)] if fd and data_bitrate is not None else []
    return " ".join([*words, "--fd"] if fd else words)


def down_commands(channel: str) -> list[list[str]]:
    """Return the line that takes an interface down."""
    return [_link(channel, "down")]


def as_line(command: Sequence[str]) -> str:
    """As it is typed."""
    return shlex.join(command)


def why_refused(command: Sequence[str], said: str, *, is_root: bool) -> str:
    """Return what a refusal of `ip` means, and what to do. Pure."""
    line, words = as_line(command), " ".join(said.split()) or "it said nothing"
    if "not permitted" in words or "Permission denied" in words or "a password is required" in words:
        who = "root of this container does not have it" if is_root else "this user is not root"
        return (
            f"`{line}` needs the capability CAP_NET_ADMIN, and {who}: run `sudo {line}`, "
            "or let systemd-networkd set the interface up (docs/hardware.md)"
        )
    if "Cannot find device" in words or "does not exist" in words:
        return f"`{line}`: there is no such interface: plug the adapter in; `ip -br link show type can` lists what is there"
    if "RTNETLINK answers: Invalid argument" in words or "not supported" in words.lower():
        return f"`{line}`: the driver refuses: {words}; bit rate, CAN FD or listen-only is not for this adapter (docs/hardware.md)"
    return f"`{line}`: {words}"


def look(channel: str) -> LinkState:
    """Ask `ip` about an interface.

    Raises:
        AdapterError: there is none of that name, or no `ip`.
        WrongUsage: it is no CAN interface.
    """
    command = [_ip(), "-json", "-details", "-statistics", "link", "show", "dev", channel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AdapterError(why_refused(["ip", "link", "show", "dev", channel], done.stderr, is_root=os.geteuid() == 0))
    return parse_link(done.stdout)


def run(command: Sequence[str]) -> None:
    """Run one of the lines, as root where that needs no password.

    Raises:
        AdapterError: it was refused; the message says which permission or setting is missing.
    """
    is_root = os.geteuid() == 0
    prefix = [] if is_root or shutil.which("sudo") is None else ["sudo", "-n"]
    done = subprocess.run([*prefix, _ip(), *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AdapterError(why_refused(command, done.stderr, is_root=is_root))


def _ip() -> str:
    found = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise AdapterError("`ip` is not installed: setup/packages.sh run (Debian: iproute2)")
    return found


def _link(channel: str, *arguments: str) -> list[str]:
    return ["ip", "link", "set", channel, *arguments]


def _refuse(channel: str, kind: str, asked: dict[str, bool]) -> None:
    wrong = ", ".join(option for option, given in asked.items() if given)
    if wrong:
        raise WrongUsage(f"{channel}: {wrong}: an interface of kind {kind} has no such setting; leave it out")
