"""``otabench can up | down | status``: set up a SocketCAN interface, take it down, look at it.

Every `ip link` line is printed before it is run, so that it can be copied.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import typer

from otabench.bench.bus import interfaces, link_state
from otabench.bench.cli.options import AsJson, with_options
from otabench.bench.errors import WrongUsage
from otabench.bench.topology.rules import is_interface_name

MAX_RESTART_MS: Final = 3_600_000
MAX_TX_QUEUE_LENGTH: Final = 1_000_000
"""At 1 Mbit/s, more frames than this would wait for minutes."""
_Channel = Annotated[str, typer.Argument(help="Interface, such as can0.")]
_Print = Annotated[bool, typer.Option("--print", help="Only print the `ip link` lines.")]


@dataclass(frozen=True)
class LinkOptions:
    """The settings of `otabench can up`."""

    bitrate: Annotated[int | None, typer.Option(min=10_000, max=1_000_000, help="bit/s; by default 500000.")] = None
    data_bitrate: Annotated[int | None, typer.Option(min=10_000, max=12_000_000, help="CAN FD data phase, bit/s.")] = (
        None
    )
    fd: Annotated[bool, typer.Option("--fd", help="CAN FD.")] = False
    listen_only: Annotated[bool, typer.Option("--listen-only", help="Never send, not even an acknowledgment.")] = False
    restart_ms: Annotated[int, typer.Option(min=0, max=MAX_RESTART_MS, help="Restart after bus-off; 0: stay off.")] = 0
    txqueuelen: Annotated[int, typer.Option(min=1, max=MAX_TX_QUEUE_LENGTH, help="Frames that may wait.")] = 1000

    def settings(self) -> interfaces.LinkSettings:
        """Return them as the interface gets them. A data bit rate implies CAN FD."""
        return interfaces.LinkSettings(
            bitrate=self.bitrate or interfaces.LinkSettings.bitrate,
            data_bitrate=self.data_bitrate,
            fd=self.fd or self.data_bitrate is not None,
            listen_only=self.listen_only,
            restart_ms=self.restart_ms,
            tx_queue_length=self.txqueuelen,
        )


@with_options
def up(options: LinkOptions, channel: _Channel, only_print: _Print = False) -> None:
    """Set up an interface: bit rates, CAN FD, transmit queue."""
    _require_name(channel)
    kind = interfaces.kind_by_name(channel) if only_print else link_state.read(channel).kind
    given_rates = (("--bitrate", options.bitrate), ("--data-bitrate", options.data_bitrate))
    if kind in link_state.WITHOUT_TIMING and (options.bitrate or options.data_bitrate):
        rates = " and ".join(name for name, rate in given_rates if rate)
        print(f"{channel}: a {kind} has no bit timing, {rates} sets nothing; a bench paces it", file=sys.stderr)
    _run(interfaces.up_commands(channel, kind, options.settings()), only_print=only_print)
    if not only_print:
        status(channel)


def down(channel: _Channel, only_print: _Print = False) -> None:
    """Take an interface down."""
    _require_name(channel)
    _run(interfaces.down_commands(channel), only_print=only_print)


def status(channel: _Channel, as_json: AsJson = False) -> None:
    """Show state, bit rates and error counters.

    Exit status 1 if the interface cannot carry frames.
    """
    _require_name(channel)
    link = link_state.read(channel)
    print(json.dumps(asdict(link), default=str) if as_json else interfaces.describe(link))
    if not link.is_up or link.is_off_bus or link.state == "STOPPED":
        raise typer.Exit(1)


def _require_name(channel: str) -> None:
    if not is_interface_name(channel):
        raise WrongUsage(
            f"{channel[:40]!r} is not the name of a network interface; Linux allows 1 to 15 characters without blanks, / and :"
        )


def _run(commands: list[list[str]], *, only_print: bool) -> None:
    for command in commands:
        print(interfaces.as_line(command), flush=True)
        if not only_print:
            interfaces.run(command)
