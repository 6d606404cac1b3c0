"""The `ip link` commands that set a SocketCAN interface up or down, and an interface's state in one line.

All but ``run`` is pure. Rules: an interface is taken down before its bit timing changes. A virtual one (vcan, vxcan) has no bit
timing; its MTU makes it CAN FD. A serial one (slcan) has neither CAN FD nor a restart, and before Linux 6.0 no settings at all:
`slcand` set its bit rate. Every interface gets a transmit queue of 1000 frames, as the kernel's 10 do not hold one ISO-TP block.

``bus.link_state`` reads the state.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otabench.bench.bus.link_state import CANFD_MTU, OLD_SLCAN, WITHOUT_TIMING, LinkState
from otabench.bench.bus.system_commands import change, why_refused
from otabench.bench.errors import AdapterError, WrongUsage

# The kernel's default is 10 : a sender in user space that writes a block of 16 consecutive frames at once gets ENOBUFS.
TX_QUEUE_LENGTH: Final = 1000
_CAN_MTU: Final = 16


@dataclass(frozen=True)
class LinkSettings:
    """The settings of an interface. Bit rates are in bit/s. With ``restart_ms`` 0 the interface stays bus-off."""

    bitrate: int = 500_000
    data_bitrate: int | None = None
    fd: bool = False
    listen_only: bool = False
    restart_ms: int = 0
    tx_queue_length: int = TX_QUEUE_LENGTH


def kind_by_name(channel: str) -> str:
    """Return the kind of an interface that does not exist yet, from its name."""
    return next((kind for kind in (*WITHOUT_TIMING, "slcan") if channel.startswith(kind)), "can")


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
    if link.is_off_bus:
        words.append(f"off the bus: mend wiring or bit rate, then `{link.restart}`")
    return ", ".join(words)


def up_commands(channel: str, kind: str, wanted: LinkSettings) -> list[list[str]]:
    """Return the lines that set an interface up.

    Raises:
        WrongUsage: this kind of interface does not have one of the settings.
    """
    queue = ["txqueuelen", str(wanted.tx_queue_length)]
    if kind in WITHOUT_TIMING:
        _refuse(channel, kind, {"--listen-only": wanted.listen_only, "--restart-ms": bool(wanted.restart_ms)})
        # A vcan has no `type can` settings. Its MTU alone decides whether it accepts FD frames, and can change only
        # while it is down.
        mtu = CANFD_MTU if wanted.fd else _CAN_MTU
        return [_link(channel, "down"), _link(channel, "mtu", str(mtu), *queue), _link(channel, "up")]
    if kind == OLD_SLCAN:
        unknown = {"--fd": wanted.fd, "--listen-only": wanted.listen_only, "--restart-ms": bool(wanted.restart_ms)}
        _refuse(channel, kind, unknown)
        return [_link(channel, *queue, "up")]
    if kind == "slcan":
        _refuse(channel, kind, {"--fd": wanted.fd, "--restart-ms": bool(wanted.restart_ms)})
        timing = ["type", "can", "bitrate", str(wanted.bitrate), "listen-only", "on" if wanted.listen_only else "off"]
        return [_link(channel, "down"), _link(channel, *timing), _link(channel, *queue, "up")]
    # A CAN FD bus without bit rate switch still needs a data bit rate: the kernel refuses `fd on` without one.
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
    if not channel.startswith(WITHOUT_TIMING):
        words += ["--bitrate", str(bitrate)]
        words += ["--data-bitrate", str(data_bitrate)] if fd and data_bitrate is not None else []
    return " ".join([*words, "--fd"] if fd else words)


def down_commands(channel: str) -> list[list[str]]:
    """Return the line that takes an interface down."""
    return [_link(channel, "down")]


def as_line(command: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return shlex.join(command)


def run(command: Sequence[str]) -> None:
    """Run one of the commands, as root where that needs no password.

    Raises:
        AdapterError: it was refused; the message names the permission or setting that is missing.
    """
    done = change(command)
    if done.returncode != 0:
        raise AdapterError(why_refused(command, done.stderr, is_root=os.geteuid() == 0))


def _link(channel: str, *arguments: str) -> list[str]:
    return ["ip", "link", "set", channel, *arguments]


def _refuse(channel: str, kind: str, asked: dict[str, bool]) -> None:
    wrong = ", ".join(option for option, given in asked.items() if given)
    if wrong:
        raise WrongUsage(f"{channel}: {wrong}: an interface of kind {kind} has no such setting; leave it out")
