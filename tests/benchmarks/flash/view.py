"""The benchmark's table, its words on how each figure is taken, and its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from otabench.bench.errors import BenchError
from tests.benchmarks.flash.measure import BLOCK_BYTES, PEER_BLOCK_SIZE, Memory, Rates

HOW: Final = f"""\
line limit     bit rate / mean length of the image's own frames (stuff bits counted) * payload of a consecutive frame
isotpsend      can-utils, one message of {BLOCK_BYTES} bytes a process, without the start of the process
kernel         one CAN_ISOTP socket to isotprecv, messages of {BLOCK_BYTES} bytes back to back, with each flow control's wait
this bench     flash.transfer of the trace: blocks of {BLOCK_BYTES} bytes, each acknowledged by the ECU once it is programmed
peer           udsoncan over can-isotp in user space, the same blocks to the same ECU (block size {PEER_BLOCK_SIZE})
share          this bench / kernel where paced; this bench / the larger of isotpsend and kernel where not"""


def table(rates: list[Rates]) -> Table:
    """Return all lines side by side, payload in bytes a second."""
    made = Table(title="Flash path: payload, bytes a second")
    for title in (
        "line",
        "line limit",
        "isotpsend",
        "kernel",
        "this bench",
        "peer",
        "share",
        "target",
        "CPU client/ECU",
    ):
        made.add_column(title, justify="left" if title == "line" else "right")
    for one in rates:
        made.add_row(
            one.line,
            "-" if one.limit is None else f"{one.limit:,.0f}",
            f"{one.isotpsend:,.0f}",
            f"{one.kernel:,.0f}",
            f"{one.ours:,.0f}",
            "failed" if one.peer is None else f"{one.peer:,.0f}",
            f"[{'green' if one.is_met else 'bold red'}]{one.share:.1%}[/]",
            f"{one.target:.0%}",
            f"{one.client_cpu_s / one.duration_s:.0%} / {one.ecu_cpu_s / one.duration_s:.0%}",
        )
    return made


def show(console: Console, rates: list[Rates], memory: Memory) -> None:
    """Print everything."""
    console.print(table(rates))
    for one in rates:
        if one.peer_problem:
            console.print(f"{one.line}: {one.peer_problem}", soft_wrap=True)
    console.print(HOW, soft_wrap=True)
    console.print(
        f"ECU memory over an image of {memory.image_bytes:,} bytes: resident {memory.before_kib:,} KiB before, "
        f"{memory.after_kib:,} KiB after; highest {memory.most_kib:,} KiB (+{memory.growth_kib} KiB)",
        soft_wrap=True,
    )


def write_json(path: Path, rates: list[Rates], memory: Memory) -> None:
    """The same as JSON.

    Raises:
        BenchError: the file cannot be written.
    """
    lines = [{**asdict(one), "share": one.share, "is_met": one.is_met} for one in rates]
    content = {"lines": lines, "ecu_memory": {**asdict(memory), "growth_kib": memory.growth_kib}}
    try:
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; choose another file by --json") from error
