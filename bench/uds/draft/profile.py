"""The draft as a file: the session split into acts, its steps and loops, the values, layout and times.

draft = write(heard, Source(name="mine", when=day, blocks=blocks))
Path("mine.yaml").write_text(draft.text)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Final

from otabench.bench.uds.draft.downloads import Download, blocks_of, group
from otabench.bench.uds.draft.explain import Explainer
from otabench.bench.uds.draft.heard import Heard, Source, is_whole
from otabench.bench.uds.draft.loops import fold, fold_erase
from otabench.bench.uds.draft.steps import Item, StepWriter
from otabench.bench.uds.sequence.material import Block

_PROGRAMMING: Final = 0x02
_SECTORS: Final = (0x10000, 0x4000, 0x2000, 0x1000, 0x800, 0x400, 0x200, 0x100)


class NothingHeard(Exception):
    """The capture holds no flash session of this ECU. The text states what was found, and what to do."""


@dataclass(frozen=True)
class Draft:
    """A profile's text, and what its author must look at: steps with constants that nothing explains."""

    text: str
    open_points: int


def write(heard: Sequence[Heard], source: Source) -> Draft:
    """Return the draft of a profile.

    Raises:
        NothingHeard: there is no request, or no download in it.
    """
    if not heard:
        raise NothingHeard("no request was found: are the identifiers right, and is it the bus of this ECU?")
    whole = [each for each in heard if is_whole(each)]
    kept, period_s = _without_keep_alive(whole)
    grouped = group(kept)
    if not any(isinstance(each, Download) for each in grouped):
        raise NothingHeard(f"{len(heard)} requests were found, and no download (34, 36, 37) among them")
    blocks = blocks_of(grouped, source.blocks)
    explainer = Explainer(blocks, source.when, source.start_address)
    writer = StepWriter(explainer)
    writer.learn_block_ids(grouped)
    areas = _erased_areas(kept)
    acts = {}
    for act, part in _acts(grouped).items():
        items = writer.items(part)
        acts[act] = fold(fold_erase(items, areas), blocks)
    sector = _sector(areas, blocks, source)
    left_out = len(heard) - len(whole)
    return _file(source, acts, explainer, sector=sector, period_s=period_s, heard=kept, left_out=left_out)


def _without_keep_alive(heard: Sequence[Heard]) -> tuple[list[Heard], float | None]:
    """Leave out suppressed TesterPresent, which a tool sends by itself; return its period too."""
    times = [each.time_s for each in heard if each.request[:2] == b"\x3e\x80"]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    kept = [each for each in heard if each.request[:2] != b"\x3e\x80"]
    return kept, round(median(gaps), 2) if gaps else None


def _acts(grouped: Sequence[Heard | Download]) -> dict[str, list[Heard | Download]]:
    """Split the session: what is before the programming session, up to the reset behind the last download, and behind it."""
    is_download = [isinstance(each, Download) for each in grouped]
    last = len(grouped) - 1 - is_download[::-1].index(True)
    first_download = is_download.index(True)
    start = next(
        (
            at
            for at, each in enumerate(grouped[:first_download])
            if isinstance(each, Heard) and _enters_programming(each)
        ),
        0,
    )
    reset = next(
        (at for at in range(last, len(grouped)) if isinstance(each := grouped[at], Heard) and each.sid == 0x11),
        len(grouped),
    )
    end = reset + 1
    while end < len(grouped) and isinstance(each := grouped[end], Heard) and each.request == b"\x3e\x00":
        end += 1
    return {
        "pre_programming": list(grouped[:start]),
        "programming": list(grouped[start:reset]),
        "activate": list(grouped[reset:end]),
        "post_programming": list(grouped[end:]),
    }


def _enters_programming(heard: Heard) -> bool:
    return heard.sid == 0x10 and heard.request[1] & 0x7F == _PROGRAMMING and not heard.functional


def _erased_areas(heard: Sequence[Heard]) -> list[tuple[int, int]]:
    """Return what erase routines (31 01 FF00) with address and length named."""
    areas = []
    for each in heard:
        option = each.request[4:]
        if each.request[:4] == b"\x31\x01\xff\x00" and len(option) in (8, 9):
            numbers = option[-8:]
            areas.append((int.from_bytes(numbers[:4], "big"), int.from_bytes(numbers[4:], "big")))
    return areas


def _sector(areas: Sequence[tuple[int, int]], blocks: Sequence[Block], source: Source) -> int:
    """Return the sector to whose multiples the areas are rounded; 1 if they are those of blocks or file."""
    exact = {(block.address, block.length_in_memory) for block in blocks} | set(source.erase)
    if not areas or set(areas) <= exact:
        return 1
    return next((size for size in _SECTORS if all(not (start % size or length % size) for start, length in areas)), 1)


def _file(
    source: Source,
    acts: dict[str, list[Item]],
    explainer: Explainer,
    *,
    sector: int,
    period_s: float | None,
    heard: Sequence[Heard],
    left_out: int,
) -> Draft:
    lines = [
        f"# Draft of a flash profile, made from a capture of {source.when:%Y-%m-%d}: {len(heard)} requests,",
        f"# {len(explainer.blocks)} blocks, {sum(len(block.data) for block in explainer.blocks)} bytes.",
        *(["# 1 request is left out: it is too short for its service."] if left_out == 1 else []),
        *([f"# {left_out} requests are left out: they are too short for their service."] if left_out > 1 else []),
        "# Read it beside the bootloader's document.",
        f"name: {source.name}",
        "",
        "sequences:",
    ]
    open_points = 0
    for act, items in acts.items():
        if not items:
            continue
        lines.append(f"  {act}:")
        for item in items:
            open_points += len(item.comments)
            lines += [f"    # {text}" for text in item.comments]
            lines += _step(item.keys, "    ")
        lines.append("")
    if explainer.values:
        lines.append("values:")
        lines += [f"  {name}: {_flow(value)}" for name, value in explainer.values.items()]
        lines.append("")
    if sector > 1:
        lines += [f"layout: {{erase_sector_bytes: 0x{sector:X}}}", ""]
    pending_s = max((each.pending_s for each in heard), default=0.0)
    lines.append(
        f"times: {{p2_s: 0.05, p2_star_s: 5.0, margin_s: 1.0, max_pending_s: {max(60, round(3 * pending_s))}}}"
    )
    if period_s is not None:
        lines.append(f'keep_alive: {{every_s: {period_s}, request: "3E 80", functional: true}}')
    else:
        lines.append("keep_alive: null                        # the tool sent none")
    return Draft("\n".join(lines) + "\n", open_points)


def _step(keys: dict[str, Any], indent: str) -> list[str]:
    """Write one step; loops and what they hold in block style, everything else in one line each."""
    lines = []
    for number, (key, value) in enumerate(keys.items()):
        lead = f"{indent}- " if not number else f"{indent}  "
        if key in ("do", "before_data"):
            lines.append(f"{lead}{key}:")
            for inner in value:
                lines += _step(inner, indent + "    ")
        else:
            lines.append(f"{lead}{key}: {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    """Write a value in one line."""
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
        case int() | float():
            return repr(value)
        case str() if (
            value.replace("_", "").replace("-", "").isalnum() and not value[:1].isdigit() and " " not in value
        ):
            return value
    return f'"{value}"'
