"""``otabench can up|down|status CHANNEL``: a SocketCAN interface set up, taken down, looked at.

Decides what is printed: every `ip link` line before it is run, so that it can be copied, and the interface's state in one line.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

can_group = typer.Typer(
    help="Set up, take down, or look at a SocketCAN interface.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_Channel = Annotated[str, typer.Argument(help="Interface, such as can0.")]
_Print = Annotated[bool, typer.Option("--print", help="Only print the `ip link` lines.")]


@can_group.command("up")
def up(
    channel: _Channel,
    bitrate: Annotated[
        int | None, typer.Option(min=10_000, max=1_000_000, help="bit/s; 500000 where not given.")
    ] = None,
    data_bitrate: Annotated[
        int | None, typer.Option(min=10_000, max=12_000_000, help="CAN FD data phase, bit/s.")
    ] = None,
    fd: Annotated[bool, typer.Option("--fd", help="CAN FD.")] = False,
    listen_only: Annotated[
        bool, typer.Option("--listen-only", help="Never send, not even an acknowledgement.")
    ] = False,
    restart_ms: Annotated[int, typer.Option(min=0, help="Restart after bus-off; 0: stay off.")] = 0,
    txqueuelen: Annotated[int, typer.Option(min=1, help="Frames that may wait.")] = 1000,
    only_print: _Print = False,
) -> None:
    """Sets an interface up: bit rates, CAN FD, transmit queue."""
    from otabench.bench.bus import interfaces

    kind = interfaces.kind_by_name(channel) if only_print else interfaces.look(channel).kind
    wanted = interfaces.LinkSettings(
        bitrate=bitrate or interfaces.LinkSettings.bitrate,
        data_bitrate=data_bitrate,
        fd=fd or data_bitrate is not None,
        listen_only=listen_only,
        restart_ms=restart_ms,
        tx_queue_length=txqueuelen,
    )
    if kind in ("vcan", "vxcan") and (bitrate or data_bitrate):
        rates = " and ".join(name for name, rate in (("--bitrate", bitrate), ("--data-bitrate", data_bitrate)) if rate)
        print(f"{channel}: a {kind} has no bit timing, {rates} sets nothing; a bench paces it", file=sys.stderr)
    _run(interfaces.up_commands(channel, kind, wanted), only_print=only_print)
    if not only_print:
        status(channel)


@can_group.command("down")
def down(channel: _Channel, only_print: _Print = False) -> None:
    """Takes an interface down."""
    from otabench.bench.bus import interfaces

    _run(interfaces.down_commands(channel), only_print=only_print)


@can_group.command("status")
def status(channel: _Channel) -> None:
    """State, bit rates, error counters of an interface. Exit status 1 where it cannot carry frames."""
    from otabench.bench.bus import interfaces

    link = interfaces.look(channel)
    print(interfaces.describe(link))
    if not link.is_up or link.is_off or link.state == "STOPPED":
        raise typer.Exit(1)


def _run(commands: list[list[str]], *, only_print: bool) -> None:
    from otabench.bench.bus import interfaces

    for command in commands:
        print(interfaces.as_line(command), flush=True)
        if not only_print:
            interfaces.run(command)
