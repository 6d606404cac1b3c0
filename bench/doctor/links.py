"""Judge CAN interfaces by what `ip` reports about them (``bus.link_state``).

State and counters are interpreted by the fault confinement of ISO 11898-1. A transmitter without acknowledgment becomes error-passive and
stays so. A transmitter whose frames are destroyed becomes error-passive, then bus-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from otabench.bench.bus.link_state import CANFD_MTU, LinkState
from otabench.bench.finding import Finding, fail, ok, warn

MIN_TX_QUEUE: Final = 100
WANTED_TX_QUEUE: Final = 1000
# ISO 11898-1: a node is error-passive from an error counter of 128 on.
_PASSIVE: Final = 128


def judge(links: Sequence[LinkState], *, bitrates: Mapping[str, int] | None = None) -> list[Finding]:
    """Return one or more findings for each interface.

    Args:
        links: the interfaces.
        bitrates: the required bit rate of each interface that the bench file names.
    """
    return [finding for link in links for finding in _judge(link, (bitrates or {}).get(link.channel))]


def _judge(link: LinkState, required_bitrate: int | None) -> list[Finding]:
    if not link.is_up:
        return [_down(link, required_bitrate)]
    if link.is_off_bus:
        return [_bus_off(link)]
    findings = [_state(link)]
    name = link.channel
    if required_bitrate is not None and link.bitrate and link.bitrate != required_bitrate:
        findings.append(
            fail(
                name,
                f"runs at {link.bitrate} bit/s, but the bench file requires {required_bitrate}",
                f"ip link set {name} down; ip link set {name} type can bitrate {required_bitrate}; ip link set {name} up",
            )
        )
    # Without a queueing discipline (a vcan that is not paced) frames do not wait, so no queue can be too short.
    if link.tx_queue_length < MIN_TX_QUEUE and not (link.is_virtual and link.queueing_discipline == "noqueue"):
        findings.append(
            warn(
                name,
                f"txqueuelen is {link.tx_queue_length}: a burst of frames ends in ENOBUFS",
                f"ip link set {name} txqueuelen {WANTED_TX_QUEUE}",
            )
        )
    if link.received and link.received.over_errors:
        problem = f"{link.received.over_errors} frames were lost in the controller"
        findings.append(warn(name, problem, "the machine is busy or the USB hub is slow: connect the adapter directly"))
    return findings


def _down(link: LinkState, required_bitrate: int | None) -> Finding:
    name = link.channel
    timing = (
        "" if link.is_virtual or link.bitrate else f"ip link set {name} type can bitrate {required_bitrate or 500000}; "
    )
    level = fail if required_bitrate is not None else warn
    return level(name, "is down", f"{timing}ip link set {name} up")


def _state(link: LinkState) -> Finding:
    if link.state == "ERROR-PASSIVE":
        return _error_passive(link)
    if link.state == "ERROR-WARNING":
        problem = f"error-warning{_counters(link)}"
        return warn(link.channel, problem, "frames are disturbed: check bit rate, wiring and termination")
    return ok(link.channel, _healthy_words(link))


def _healthy_words(link: LinkState) -> str:
    words = [link.kind, "up"]
    if link.state:
        words.append(link.state.lower())
    if link.bitrate:
        words.append(f"{link.bitrate // 1000} kbit/s")
    if link.mtu >= CANFD_MTU:
        words.append("CAN FD")
    words.append(f"txqueuelen {link.tx_queue_length}")
    words += [
        f"{direction} {traffic.frames} frames, {traffic.errors} errors"
        for direction, traffic in (("rx", link.received), ("tx", link.sent))
        if traffic is not None
    ]
    return ", ".join(words) + (f", was bus-off {_times(link.bus_offs)}" if link.bus_offs else "")


def _counters(link: LinkState) -> str:
    if not link.has_error_counters:
        return ""
    return f" (error counters: send {link.tx_errors}, receive {link.rx_errors})"


def _error_passive(link: LinkState) -> Finding:
    words = f"error-passive{_counters(link)}"
    # While only acknowledgments are missing, an error-passive node does not raise its transmit counter (ISO 11898-1): it stays at 128.
    if link.tx_errors >= _PASSIVE and link.rx_errors == 0 and not link.bus_offs:
        return fail(
            link.channel,
            f"{words}: its frames are not acknowledged; it seems to be the only node",
            "connect and power the other node; check CAN_H, CAN_L and the 120 ohm at both ends",
        )
    if link.rx_errors > link.tx_errors:
        return fail(
            link.channel,
            f"{words}: it cannot decode the frames that it receives",
            "set the bit rate of the bus (otabench can up), and check the termination",
        )
    return fail(
        link.channel,
        words,
        "it is the only node, its bit rate is wrong, or the termination is missing: compare the bit rate, check the 120 ohm at both ends "
        "(if the adapter reports errors, the next line shows the cause)",
    )


def _bus_off(link: LinkState) -> Finding:
    if link.state != "BUS-OFF":
        return fail(
            link.channel,
            f"{link.state.lower()}, without carrier: the controller recovered from bus-off by itself; the kernel still sends nothing",
            link.restart,
        )
    if link.restart_ms:
        again = f"it restarts by itself after {link.restart_ms} ms"
    else:
        aside = (
            "slcan does not support restart-ms" if link.kind == "slcan" else "or set restart-ms 100 while it is down"
        )
        again = f"then {link.restart} ({aside})"
    so_far = f", {_times(link.bus_offs)} so far" if link.bus_offs else ""
    return fail(
        link.channel,
        f"bus-off{_counters(link)}{so_far}: its frames are destroyed",
        f"check for a wrong bit rate, a short circuit, or CAN_H and CAN_L swapped; {again}",
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
