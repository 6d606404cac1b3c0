"""Judges CAN interfaces by what ``ip -j -d -s link show type can`` (and ``vcan``) says of them. Pure.

State and counters are interpreted by the fault confinement of ISO 11898-1: a transmitter without acknowledgment becomes error-passive
and stays so; a transmitter whose frames are destroyed goes on to bus-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otabench.bench.bus.interfaces import bit_rate, is_off, is_slcan, restart_line
from otabench.bench.finding import Finding, fail, ok, warn

MIN_TX_QUEUE: Final = 100
WANTED_TX_QUEUE: Final = 1000
_PASSIVE: Final = 128


def judge(links: Sequence[Mapping[str, Any]], *, bitrates: Mapping[str, int] | None = None) -> list[Finding]:
    """Return one line or more for each interface.

    Args:
        links: entries as ``ip -j`` gives them; empty ones are left out.
        bitrates: of each interface that the bench file names, the bit rate it asks for.
    """
    return [finding for link in links if link for finding in _judge(link, (bitrates or {}).get(str(link["ifname"])))]


def _judge(link: Mapping[str, Any], wanted_bitrate: int | None) -> list[Finding]:
    name = str(link["ifname"])
    info = link.get("linkinfo") or {}
    data, counted = info.get("info_data") or {}, info.get("info_xstats") or {}
    is_virtual = info.get("info_kind") != "can"
    up = "UP" in link.get("flags", ())
    state = str(data.get("state", ""))
    bitrate = bit_rate(link)
    if not up:
        how = "" if is_virtual or bitrate else f"ip link set {name} type can bitrate {wanted_bitrate or 500000}; "
        level = fail if wanted_bitrate is not None else warn
        return [level(name, "is down", f"{how}ip link set {name} up")]
    if is_off(link):
        return [_bus_off(link, state, data, counted)]
    found = []
    if state == "ERROR-PASSIVE":
        found.append(_error_passive(name, data, counted))
    elif state == "ERROR-WARNING":
        found.append(
            warn(
                name,
                f"error-warning{_counters(data)}",
                "frames are disturbed: look at bit rate, wiring and termination",
            )
        )
    else:
        found.append(ok(name, _healthy_words(link, state, bitrate, counted)))
    if wanted_bitrate is not None and bitrate and bitrate != wanted_bitrate:
        found.append(
            fail(
                name,
                f"runs at {bitrate} bit/s, the bench file says {wanted_bitrate}",
                f"ip link set {name} down; ip link set {name} type can bitrate {wanted_bitrate}; ip link set {name} up",
            )
        )
    queue = int(link.get("txqlen") or 0)
    if queue < MIN_TX_QUEUE and not (is_virtual and link.get("qdisc") == "noqueue"):
        found.append(
            warn(
                name,
                f"txqueuelen is {queue}: a burst of frames ends in ENOBUFS",
                f"ip link set {name} txqueuelen {WANTED_TX_QUEUE}",
            )
        )
    lost = int(((link.get("stats64") or {}).get("rx") or {}).get("over_errors") or 0)
    if lost:
        found.append(
            warn(name, f"{lost} frames were lost in the controller", "a busy machine or a slow USB hub: move it")
        )
    return found


def _healthy_words(link: Mapping[str, Any], state: str, bitrate: int, counted: Mapping[str, Any]) -> str:
    info = link.get("linkinfo") or {}
    stats = link.get("stats64") or {}
    words = ["slcan" if is_slcan(link) else str(info.get("info_kind", "can")), "up"]
    if state:
        words.append(state.lower())
    if bitrate:
        words.append(f"{bitrate // 1000} kbit/s")
    if int(link.get("mtu") or 0) > 16:
        words.append("CAN FD")
    words.append(f"txqueuelen {link.get('txqlen', '?')}")
    words += [
        f"{direction} {part.get('packets', 0)} frames, {part.get('errors', 0)} errors"
        for direction, part in stats.items()
        if direction in ("rx", "tx")
    ]
    offs = int(counted.get("bus_off") or 0)
    return ", ".join(words) + (f", was bus-off {_times(offs)}" if offs else "")


def _counters(data: Mapping[str, Any]) -> str:
    counters = data.get("berr_counter") or {}
    return f" (error counters: send {counters.get('tx', '?')}, receive {counters.get('rx', '?')})" if counters else ""


def _error_passive(name: str, data: Mapping[str, Any], counted: Mapping[str, Any]) -> Finding:
    counters = data.get("berr_counter") or {}
    sent, received = int(counters.get("tx") or 0), int(counters.get("rx") or 0)
    words = f"error-passive{_counters(data)}"
    if sent >= _PASSIVE and received == 0 and not counted.get("bus_off"):
        return fail(
            name,
            f"{words}: its frames are not acknowledged, it seems to be the only node",
            "connect and power the other node, look at CAN_H, CAN_L and the 120 ohm at both ends",
        )
    if received > sent:
        return fail(
            name,
            f"{words}: what it hears makes no sense to it",
            "set the bus's bit rate (otabench can up), look at the termination",
        )
    return fail(
        name,
        words,
        "the only node, a wrong bit rate, or no termination: compare the bit rate, look at the 120 ohm at both ends "
        "(the line below tells which, where the adapter reports errors)",
    )


def _bus_off(link: Mapping[str, Any], state: str, data: Mapping[str, Any], counted: Mapping[str, Any]) -> Finding:
    name = str(link["ifname"])
    if state != "BUS-OFF":
        return fail(
            name,
            f"{state.lower()}, but without carrier: it was bus-off and came back by itself, and the kernel sends nothing",
            restart_line(link),
        )
    if data.get("restart_ms"):
        again = f"it starts again by itself after {data['restart_ms']} ms"
    else:
        aside = "slcan knows no restart" if is_slcan(link) else "or set restart-ms 100 while it is down"
        again = f"then {restart_line(link)} ({aside})"
    offs = int(counted.get("bus_off") or 0)
    so_far = f", {_times(offs)} so far" if offs else ""
    return fail(
        name,
        f"bus-off{_counters(data)}{so_far}: its frames are destroyed",
        f"look for a wrong bit rate, a short, or CAN_H and CAN_L swapped; {again}",
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
