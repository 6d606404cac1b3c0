"""What `ip` reports about a CAN interface: the one reader of ``ip -json -details -statistics link``.

    read("can0").state                                    # "ERROR-ACTIVE"
    [link.channel for link in read_kind("can") if link.is_off_bus]

``parse`` is pure; ``read`` and ``read_kind`` ask `ip`. Older versions of `ip` and drivers without a controller leave members out, so
nothing but the interface's name is taken for granted. What a state means is for ``doctor.links`` (a machine) and
``pytest_plugin.counters`` (before and after a test); ``bus.environment`` needs less and reads sysfs, which starts no process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.bus.system_commands import query, why_refused
from otabench.bench.errors import AdapterError, WrongUsage

WITHOUT_TIMING: Final = ("vcan", "vxcan")
"""Kinds of virtual interfaces: they have no controller, so no bit timing and no error counters."""
OLD_SLCAN: Final = "slcan before Linux 6.0"
CANFD_MTU: Final = 72
# The bit rates S0 to S8 of the LAWICEL protocol, in the order of the kernel's driver.
_SLCAN_BIT_RATES: Final = [10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000]
_UNKNOWN_BIT_RATE: Final = 0xFFFF_FFFF
"""The slcan driver's value where `slcand` has set the bit rate."""
_LINK_SHOW: Final = ("ip", "-json", "-details", "-statistics", "link", "show")


@dataclass(frozen=True)
class Traffic:
    """Counts of one direction since the interface was made."""

    frames: int
    errors: int
    over_errors: int = 0
    """Frames lost in the controller, because they were not fetched in time."""


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
    """The controller's transmit error counter; see ``has_error_counters``."""
    rx_errors: int = 0
    """The controller's receive error counter; see ``has_error_counters``."""
    bus_offs: int = 0
    is_off_bus: bool = False
    """Off the bus: the kernel throws away what is sent."""
    restart: str = ""
    """The command that restarts it then."""
    parent: str = ""
    """The device that carries it, such as a USB path."""
    has_error_counters: bool = False
    """Whether the driver reports the controller's error counters."""
    queueing_discipline: str = ""
    received: Traffic | None = None
    sent: Traffic | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    """The driver's counts, by the kernel's names: restarts, bus_error, error_warning, error_passive, bus_off, …"""

    @property
    def is_virtual(self) -> bool:
        """Whether there is no controller behind it."""
        return self.kind in WITHOUT_TIMING


def read(channel: str) -> LinkState:
    """Ask `ip` about one interface.

    Raises:
        AdapterError: there is none of that name, or no `ip`.
        WrongUsage: it is not a CAN interface.
    """
    done = query([*_LINK_SHOW, "dev", channel])
    if done.returncode != 0:
        raise AdapterError(why_refused(["ip", "link", "show", "dev", channel], done.stderr, is_root=os.geteuid() == 0))
    (entry,) = _entries(done.stdout)
    if entry.get("link_type") != "can":
        raise WrongUsage(
            f"{channel} is no CAN interface (it is {entry.get('link_type')}); `ip link show type can` lists them"
        )
    return parse(entry)


def read_kind(kind: str) -> list[LinkState]:
    """Ask `ip` about all interfaces of a kind: can, vcan, vxcan.

    Raises:
        AdapterError: there is no `ip`, or it does not know the kind.
    """
    done = query([*_LINK_SHOW, "type", kind])
    if done.returncode != 0:
        raise AdapterError(why_refused(["ip", "link", "show", "type", kind], done.stderr, is_root=os.geteuid() == 0))
    return [parse(entry) for entry in _entries(done.stdout)]


def parse(entry: Mapping[str, Any]) -> LinkState:
    """Return one entry of what ``ip -json -details -statistics link show`` printed. Pure."""
    info: Mapping[str, Any] = entry.get("linkinfo") or {}
    data: Mapping[str, Any] = info.get("info_data") or {}
    events = {name: value for name, value in (info.get("info_xstats") or {}).items() if isinstance(value, int)}
    errors: Mapping[str, Any] = data.get("berr_counter") or {}
    kind, bitrate = _kind(entry), _bit_rate(data)
    channel = str(entry["ifname"])
    return LinkState(
        channel=channel,
        kind=kind,
        is_up="UP" in entry.get("flags", ()),
        mtu=int(entry.get("mtu") or 0),
        tx_queue_length=int(entry.get("txqlen") or 0),
        state=str(data.get("state", "")),
        bitrate=bitrate,
        data_bitrate=int((data.get("data_bittiming") or {}).get("bitrate") or 0),
        restart_ms=int(data.get("restart_ms") or 0),
        modes=tuple(str(mode) for mode in data.get("ctrlmode", ())),
        tx_errors=int(errors.get("tx") or 0),
        rx_errors=int(errors.get("rx") or 0),
        bus_offs=events.get("bus_off", 0),
        is_off_bus=_is_off_bus(entry, data),
        restart=_restart_line(channel, kind, bitrate),
        parent=f"{entry['parentbus']} {entry['parentdev']}" if "parentdev" in entry and "parentbus" in entry else "",
        has_error_counters=bool(errors),
        queueing_discipline=str(entry.get("qdisc", "")),
        received=_traffic(entry, "rx"),
        sent=_traffic(entry, "tx"),
        events=events,
    )


def _entries(text: str) -> list[dict[str, Any]]:
    """Return the entries of `ip`'s output. It prints an empty object for each interface that a filter leaves out."""
    try:
        content = json.loads(text or "[]")
    except ValueError as error:
        raise AdapterError(f"`ip` printed no JSON ({error}); iproute2 4.14 or later is needed") from error
    return [dict(entry) for entry in content if entry]


def _kind(entry: Mapping[str, Any]) -> str:
    info: Mapping[str, Any] = entry.get("linkinfo") or {}
    # The slcan driver calls itself "can", whatever the interface's name; only its list of bit rates tells.
    if (info.get("info_data") or {}).get("bitrate_const") == _SLCAN_BIT_RATES:
        return "slcan"
    # Before Linux 6.0 slcan was a line discipline without the CAN device interface: `ip` has no linkinfo for it, and
    # only its name is a sign.
    if "info_kind" not in info and str(entry["ifname"]).startswith("slcan"):
        return OLD_SLCAN
    return str(info.get("info_kind", "can"))


def _bit_rate(data: Mapping[str, Any]) -> int:
    """Return the nominal bit rate; 0 if it is unknown. Drivers with fixed bit rates report it under another name."""
    found = int((data.get("bittiming") or {}).get("bitrate") or data.get("bittiming_bitrate") or 0)
    return 0 if found == _UNKNOWN_BIT_RATE else found


def _is_off_bus(entry: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Return whether the interface is off the bus: by its state, or up without carrier.

    An adapter that came back from bus-off by itself does not bring the kernel's carrier back.
    """
    flags = entry.get("flags", ())
    # LOWER_UP, not NO-CARRIER: `ip` makes the latter of the operational state, which the kernel updates up to a second later.
    # An interface that is down has no carrier either, and is not off the bus.
    without_carrier = "UP" in flags and "LOWER_UP" not in flags
    return data.get("state") == "BUS-OFF" or without_carrier


def _restart_line(channel: str, kind: str, bitrate: int) -> str:
    """Return the command that restarts an interface after bus-off.

    The slcan driver has no restart; taken down and set up again it closes and opens the adapter, but only where the kernel
    knows the bit rate.
    """
    if kind == "slcan":
        return f"otabench can up {channel} --bitrate {bitrate or 'RATE'}"
    return f"ip link set {channel} type can restart"


def _traffic(entry: Mapping[str, Any], direction: str) -> Traffic | None:
    found: Mapping[str, Any] | None = (entry.get("stats64") or {}).get(direction)
    if found is None:
        return None
    return Traffic(
        frames=int(found.get("packets") or 0),
        errors=int(found.get("errors") or 0),
        over_errors=int(found.get("over_errors") or 0),
    )
