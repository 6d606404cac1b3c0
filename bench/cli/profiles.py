"""``otabench profile check | show | dry-run``: read a flash profile whose sequences are data, without a bus."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.cli.options import AsJson
from otabench.bench.errors import BenchError, UnknownName
from otabench.bench.firmware.programs import reading
from otabench.bench.firmware.programs.material import material
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.sequence import profile as profiles
from otabench.bench.uds.sequence.dry_run import Sent, dry_run
from otabench.bench.uds.sequence.profile import Acts, SequenceProfile, SequenceProfileError
from otabench.bench.uds.sequence.words import rows

_Profile = Annotated[str, typer.Argument(metavar="PROFILE", help="A shipped profile by name, or a file.")]
_SHOWN_BYTES = 20


def check(name: _Profile) -> None:
    """Check a flash profile, and print all of its mistakes."""
    found = _load(name)
    acts = [act for act in Acts.model_fields if getattr(found.sequences, act).steps]
    print(f"{name}: no mistakes; sequences: {', '.join(acts)}")


def show(name: _Profile) -> None:
    """Show the sequences of a flash profile as tables.

    Each step with what is sent, what must be answered, and what else holds for it.
    """
    found = _load(name)
    for act in Acts.model_fields:
        steps = getattr(found.sequences, act).steps
        if not steps:
            continue
        print(f"\n{act}")
        table = [(f"{'  ' * row.depth}{row.step}", row.request, row.answer, row.notes) for row in rows(steps)]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  " + "  ".join([*cells, row[3]]).rstrip())


def dry_run_command(
    name: _Profile,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The program, in any format that `firmware pack` reads.")
    ],
    driver: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A flash driver or secondary bootloader, loaded first.")
    ] = None,
    address: Annotated[str, typer.Option(help="Where a raw binary belongs, e.g. 0x08000000.")] = "0",
    setting: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A setting that the profile names; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print every request that a flash profile would send, without a bus.

    Equal transfers are drawn together. Keys are shown as zeros: no secret is at hand.
    """
    found = _load(name)
    program = reading.read(file, address=_address(address))
    loaded = None if driver is None else reading.read(driver, address=_address(address))
    settings = {"tester_serial": "OTA001", "workshop_code": "WS0001", **_settings(setting or [])}
    try:
        sent = dry_run(found, material(program, driver=loaded, settings=settings), now=datetime.now(UTC))
    except FlashError as error:
        raise BenchError(str(error)) from error
    if as_json:
        print(json.dumps([_record(each) for each in sent], indent=1))
        return
    for act, group in groupby(sent, key=lambda each: each.act):
        print(f"\n{act}")
        for line in _lines(list(group)):
            print(f"  {line}")


def _load(name: str) -> SequenceProfile:
    path = profiles.path_of(name)
    if "/" not in name and not name.endswith(".yaml") and name not in profiles.shipped():
        raise UnknownName("flash profile", name, profiles.shipped(), where="in the package")
    try:
        return profiles.load(path)
    except SequenceProfileError as error:
        raise BenchError(str(error)) from error


def _address(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= 0xFFFF_FFFF:
        raise typer.BadParameter(f"{text!r} is not an address of 4 bytes, such as 0x08000000", param_hint="--address")
    return value


def _settings(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{text!r} is not NAME=TEXT, such as workshop_code=0815", param_hint="--setting")
        found[name] = value
    return found


def _lines(sent: list[Sent]) -> list[str]:
    """Return the lines of one act; of several transfers (36) in a row only the first and the last."""
    lines = []
    for is_transfer, run in groupby(sent, key=lambda each: each.payload[:1] == b"\x36"):
        group = list(run)
        if is_transfer and len(group) > 3:
            lines += [_line(group[0]), f"    … {len(group) - 2} more", _line(group[-1])]
        else:
            lines += map(_line, group)
    return lines


def _line(sent: Sent) -> str:
    if not sent.payload:
        return f"{'':3}wait {sent.wait_s:g} s"
    to = "all" if sent.functional else "ecu"
    times = f"  {sent.times} times, every {sent.wait_s * 1000:g} ms" if sent.times > 1 else ""
    answer = f"  < {_hex(sent.answer)}" if sent.answer else ""
    return f"{to} > {_hex(sent.payload)}{answer}{times}"


def _hex(data: bytes) -> str:
    shown = data[:_SHOWN_BYTES].hex(" ").upper()
    return shown if len(data) <= _SHOWN_BYTES else f"{shown} … ({len(data)} bytes)"


def _record(sent: Sent) -> dict[str, object]:
    return {
        "act": sent.act,
        "step": sent.step,
        "to": "all" if sent.functional else "ecu",
        "request": sent.payload.hex(),
        "answer": sent.answer.hex(),
        "wait_s": sent.wait_s,
        "times": sent.times,
    }
