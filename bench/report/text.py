"""The report for people: the same tables on screen and, without colour, in report.txt.

How figures are written; none is computed here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from otabench.bench.report.figures import LIMIT_IS, BusReport, EcuReport, Report

# Fixed: report.txt must not depend on the terminal in which the bench ran.
WIDTH = 110


def as_text(report: Report) -> str:
    """Return the report as plain text."""
    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None, highlight=False).print(render(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def render(report: Report) -> RenderableType:
    """Return the report to print with rich."""
    good = report.exit_status == 0
    head = Text()
    head.append(f"{report.result}", style="bold green" if good else "bold red")
    head.append(f"  exit status {report.exit_status}, {report.duration_s:.1f} s")
    if report.reason:
        head.append(f"\n{report.reason}")
    parts: list[RenderableType] = [head, _ecus(report)]
    if report.transfers:
        parts.append(_transfers(report))
    if report.buses:
        parts.append(_buses(report))
    if report.phases:
        parts.append(_phases(report))
    if report.overhead:
        parts.append(_overhead(report))
    stored = [f"{ecu}: {dtc}" for ecu, codes in report.dtcs.items() for dtc in codes]
    if stored:
        parts.append(Text("\n".join(["Trouble codes", *(f"  {line}" for line in stored)]) + "\n"))
    lines = [f"{label:<8} {path}" for label, path in report.files.items()]
    parts.append(Text("\n".join([f"note: {note}" for note in report.notes] + lines)))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _ecus(report: Report) -> Table:
    table = _table(f"ECUs of {report.vin}", "ECU", "before", "after", "slot 0", "slot 1", "active")
    for name in dict.fromkeys([*report.before, *report.after]):
        before, after = report.before.get(name), report.after.get(name)
        slots = after.slots if after else ("?", "?")
        table.add_row(
            name,
            _state(before),
            _state(after),
            slots[0],
            "".join(slots[1:2]) or "-",
            str(after.active_slot) if after else "?",
        )
    return table


def _state(state: EcuReport | None) -> str:
    return "no answer" if state is None else f"{state.version or '-'} {state.state}"


def _transfers(report: Report) -> Group:
    table = _table(
        "Transfers", "ECU", "kind", "bytes", "of full", "time", "rate", "line's limit", "rate/limit", "bus load"
    )
    for transfer in report.transfers:
        table.add_row(
            transfer.ecu,
            transfer.kind,
            f"{transfer.bytes:,}",
            _share(transfer.bytes / transfer.full_image_bytes if transfer.full_image_bytes else None),
            f"{transfer.duration_s:.2f} s",
            _rate(transfer.bytes_per_s),
            _rate(transfer.limit_bytes_per_s),
            _share(transfer.share_of_limit),
            _share(transfer.bus_load),
        )
    return Group(table, _under(f"line's limit: {LIMIT_IS}{_mean_note(report)}"))


def _mean_note(report: Report) -> str:
    means = [
        f"{name}: {bus.bitrate // 1000} kbit/s / {bus.mean_consecutive_frame_bits:.1f} bits "
        f"x {bus.mean_consecutive_payload_bytes or 0:.3g} bytes"
        for name, bus in report.buses.items()
        if bus.mean_consecutive_frame_bits
    ]
    unpaced = [name for name, bus in report.buses.items() if not bus.has_line]
    note = f"; {'; '.join(means)}" if means else ""
    return note + (f". {unpaced_note(unpaced)}" if unpaced else "")


def unpaced_note(buses: Sequence[str]) -> str:
    """Return the note on buses whose frames do not take the time of their bits; empty without such a bus."""
    return f"Nothing paces these buses, so they have no limit and no load: {', '.join(buses)}" if buses else ""


def _buses(report: Report) -> Group:
    table = _table("Buses", "bus", "channel", "bit rate", "pacing", "frames", "data bytes", "Mbit on the line", "lost")
    for name, bus in report.buses.items():
        table.add_row(
            name,
            bus.channel,
            f"{bus.bitrate // 1000} kbit/s{' FD' if bus.fd else ''}",
            _pacing(bus),
            f"{bus.frames:,}",
            f"{bus.data_bytes:,}",
            f"{bus.bits / 1e6:.2f}",
            str(bus.lost_frames),
        )
    lines = [
        f"The line of {bus.channel} carried {bus.line.frames:,} frames in {bus.line.busy_s:.2f} s "
        f"({bus.line.busy_s * bus.bitrate / 1e6:.2f} Mbit); frames dropped by a full queue: {bus.line.dropped_frames}; "
        f"time lost because this machine was late: {bus.line.lost_s:.2f} s"
        for bus in report.buses.values()
        if bus.line
    ]
    lines += [
        f"The controller of {bus.channel} reported {bus.error_frames:,} error frames; `otabench doctor` explains them"
        for bus in report.buses.values()
        if bus.error_frames
    ]
    return Group(table, *([_under("\n".join(lines))] if lines else []))


def _under(lines: str) -> Text:
    """Return a remark under a table, with a blank line after it."""
    return Text(f"{lines}\n", style="dim")


def _pacing(bus: BusReport) -> str:
    return f"paced, {bus.pace}" if bus.paced else "not paced"


def _phases(report: Report) -> Table:
    table = _table(f"Time in each state of job {report.job_id}", "state", "time")
    for state, seconds in report.phases:
        table.add_row(state, f"{seconds:.2f} s")
    return table


def _overhead(report: Report) -> Table:
    table = _table("Time of the run outside the job", "phase", "time")
    for phase, seconds in report.overhead:
        table.add_row(phase, f"{seconds:.2f} s")
    return table


def _rate(bytes_per_s: float | None) -> str:
    return "-" if bytes_per_s is None else f"{bytes_per_s / 1024:.2f} KiB/s"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.1f} %"
