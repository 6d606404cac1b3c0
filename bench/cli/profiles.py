"""``otabench profile check | show | dry-run | from-capture``: check, show, dry-run and draft flash profiles. No bus is needed."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from otabench.bench.captures import convert, file_formats
from otabench.bench.captures.isotp import Addresses, CapturedFrame, Reassembly, exchanges
from otabench.bench.cli.options import AsJson
from otabench.bench.errors import BenchError, UnknownName
from otabench.bench.firmware.programs import reading
from otabench.bench.firmware.programs.material import material
from otabench.bench.uds import flash_profiles, named_words
from otabench.bench.uds.draft import profile as drafts
from otabench.bench.uds.draft.heard import Heard, Source
from otabench.bench.uds.draft.profile import NothingHeard
from otabench.bench.uds.errors import FlashError, ProfileMistakes
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.sequence.dry_run import Sent, dry_run
from otabench.bench.uds.sequence.material import Block
from otabench.bench.uds.sequence.profile import Acts
from otabench.bench.uds.sequence.words import Row, rows

_Profile = Annotated[str, typer.Argument(metavar="PROFILE", help="A shipped profile by name, or a file.")]
_SHOWN_BYTES = 20


def check(name: _Profile) -> None:
    """Check a flash profile, and print all of its mistakes."""
    print(f"{name}: no mistakes; sequences: {', '.join(_acts(_load(name)))}")


def show(name: _Profile) -> None:
    """Show the sequences of a flash profile as tables.

    Columns: step, request, expected response, notes.
    """
    for act, found in _acts(_load(name)).items():
        print(f"\n{act}")
        table = [(f"{'  ' * row.depth}{row.step}", row.request, row.answer, row.notes) for row in found]
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

    Of several TransferData requests in a row, only the first and the last are printed. Keys are zeros, because no secret is available.
    """
    found = _load(name)
    if isinstance(found, Profile):
        raise BenchError(
            f"{name}: a dry run is for profiles with `sequences`; this one has named steps: `otabench profile show {name}`"
        )
    program = reading.read(file, address=_address(address))
    loaded = None if driver is None else reading.read(driver, address=_address(address))
    # Placeholders for the settings that shipped profiles name, so that a dry run works without --setting.
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


def from_capture(
    capture: Annotated[
        Path, typer.Argument(metavar="CAPTURE", help="A capture of a flash session: .log, .pcap, .blf, .asc, .trc.")
    ],
    request_id: Annotated[str, typer.Option(help="Identifier of the tester's requests, e.g. 0x7E0.")],
    response_id: Annotated[str, typer.Option(help="Identifier of the ECU's responses, e.g. 0x7E8.")],
    functional_id: Annotated[str, typer.Option(help="Identifier of functional requests.")] = "0x7DF",
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The program that was flashed; with it, more of the capture is recognized."),
    ] = None,
    driver: Annotated[Path | None, typer.Option(metavar="FILE", help="The flash driver that was loaded first.")] = None,
    address: Annotated[str, typer.Option(help="Where a raw binary belongs.")] = "0",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the draft is written; by default it is printed.")
    ] = None,
) -> None:
    """Write a draft profile from a capture of another tool's flash session.

    Sessions, levels, routines, option records, block lengths, loops and times are recognized. Bytes that are not recognized stay constant,
    with a comment.
    """
    addresses = Addresses(
        _identifier(request_id, "--request-id"),
        _identifier(response_id, "--response-id"),
        _identifier(functional_id, "--functional-id"),
    )
    reassembly = Reassembly(addresses)
    heard, when = _hear(capture, reassembly)
    blocks, start, erase = _programs(image, driver, address)
    source = Source(capture.stem.replace("_", "-"), when, blocks, erase, start)
    try:
        draft = drafts.write(heard, source)
    except NothingHeard as error:
        raise BenchError(f"{capture}: {error}") from error
    if reassembly.broken:
        print(
            f"{capture}: {reassembly.broken} incomplete messages were skipped: some of their frames are not in the capture",
            file=sys.stderr,
        )
    if out is None:
        print(draft.text, end="")
    else:
        _write_draft(draft, out)


def _write_draft(draft: drafts.Draft, out: Path) -> None:
    """Write a draft into a new file, and print how much of it is left to do."""
    try:
        # "x": a draft that was corrected by hand is never overwritten.
        with out.open("x", encoding="utf-8") as file:
            file.write(draft.text)
    except OSError as error:
        raise BenchError(f"{out}: {error.strerror}; name a new file with --out") from error
    print(f"{out} written; {draft.open_points} steps contain bytes that were not recognized, marked by comments")
    try:
        flash_profiles.load(str(out.absolute()))
    except ProfileMistakes as error:
        print(f"it cannot be used as it is: {len(error.findings)} mistakes, which `otabench profile check {out}` names")


def _hear(capture: Path, reassembly: Reassembly) -> tuple[list[Heard], datetime]:
    """Return the exchanges of a capture, and when it began."""
    file_formats.require_known(capture, verb="read")
    try:
        with convert.reading(capture) as messages:
            frames = [CapturedFrame(each.timestamp, each.arbitration_id, bytes(each.data)) for each in messages]
    except OSError as error:
        raise BenchError(f"{capture}: {error.strerror or error}; check the path") from error
    except convert.DAMAGED as error:
        raise BenchError(f"{capture}: not a {capture.suffix} capture, or damaged: {error}") from error
    heard = exchanges(reassembly.messages(frames), reassembly.addresses)
    when = datetime.fromtimestamp(frames[0].time_s if frames else 0.0, UTC)
    return heard, when


def _programs(
    image: Path | None, driver: Path | None, address: str
) -> tuple[tuple[Block, ...], int | None, tuple[tuple[int, int], ...]]:
    """Return blocks, start address and erase list of the program files."""
    if image is None:
        return (), None, ()
    program = reading.read(image, address=_address(address))
    loaded = None if driver is None else reading.read(driver, address=_address(address))
    made = material(program, driver=loaded)
    start = None if loaded is None else loaded.start
    return made.blocks, start, tuple((each.address, each.length) for each in made.erase)


def _load(name: str) -> AnyProfile:
    if not flash_profiles.is_path(name) and name not in flash_profiles.shipped():
        raise UnknownName("flash profile", name, flash_profiles.shipped(), where="in the package")
    try:
        return flash_profiles.load(name)
    except ProfileMistakes as error:
        raise BenchError("\n".join(error.as_lines())) from error


def _acts(profile: AnyProfile) -> dict[str, list[Row]]:
    """Return the rows of every act that has steps."""
    if isinstance(profile, Profile):
        return named_words.acts(profile)
    acts = {act: getattr(profile.sequences, act).steps for act in Acts.model_fields}
    return {act: list(rows(steps)) for act, steps in acts.items() if steps}


def _identifier(text: str, option: str) -> int:
    return _number(text, bits=29, what="a CAN identifier, such as 0x7E0", hint=option)


def _address(text: str) -> int:
    return _number(text, bits=32, what="an address of 4 bytes, such as 0x08000000", hint="--address")


def _number(text: str, *, bits: int, what: str, hint: str | None = None) -> int:
    """Return a number in decimal or hexadecimal digits.

    Raises:
        typer.BadParameter: it is not one, or has more bits.
    """
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << bits:
        raise typer.BadParameter(f"{text!r} is not {what}", param_hint=hint)
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
        # Up to three lines, the abbreviation would not be shorter.
        if is_transfer and len(group) > 3:
            lines += [_line(group[0]), f"    … {len(group) - 2} more", _line(group[-1])]
        else:
            lines += map(_line, group)
    return lines


def _line(sent: Sent) -> str:
    if not sent.payload:
        return f"{'':3}wait {sent.wait_s:g} s"
    # As wide as "all" and "ecu" only where it can be: an identifier of its own must be seen.
    to = f"{sent.request_id:03X}" if sent.request_id is not None else "all" if sent.functional else "ecu"
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
        "request_id": sent.request_id,
        "request": sent.payload.hex(),
        "answer": sent.answer.hex(),
        "wait_s": sent.wait_s,
        "times": sent.times,
    }
