"""Loops: steps that repeat from block to block, or from one area to be erased to the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from otabench.bench.uds.draft.steps import Item
from otabench.bench.uds.sequence.material import Block

_ERASE: Final = 0xFF00
_AREA: Final = re.compile(r"^(44 )?((?:[0-9A-F]{2} ){7}[0-9A-F]{2}|\{address:4\} .*)$")
_OF_BLOCK: Final = re.compile(r"\{(address|memory_length|length|end_address|block_id|data_format|block_\w+)[:}]")

_NO_LOOP: Final = (
    "No loop covers all blocks, whose steps differ: put one download into `for_each: block`, and leave out the others."
)


def fold(items: Sequence[Item], blocks: Sequence[Block]) -> list[Item]:
    """Return the steps with loops over blocks: each is as long as it can be."""
    folded: list[Item] = []
    at = 0
    while at < len(items):
        run = _run_of_blocks(items, at, blocks)
        if run is None:
            if items[at].is_download:
                items[at].comments.append(_NO_LOOP)
            folded.append(items[at])
            at += 1
            continue
        length, turns = run
        body = items[at : at + length]
        kind = blocks[_block_of(body)].kind
        do = [{**item.keys} for item in body]
        comments = [text for item in body for text in item.comments]
        is_only = all(block.kind is kind for block in blocks)
        keys: dict[str, Any] = {"for_each": "block", **({} if is_only else {"kind": kind.value}), "do": do}
        folded.append(Item(keys, comments=comments))
        at += length * turns
    return folded


def _block_of(body: Sequence[Item]) -> int:
    return next(item.block for item in body if item.block is not None)


def _run_of_blocks(items: Sequence[Item], at: int, blocks: Sequence[Block]) -> tuple[int, int] | None:
    """Return the length of one turn and the number of turns of a loop that begins at ``at``; None if none does."""
    if items[at].block is None:
        return None
    best: tuple[int, int] | None = None
    for length in range(1, len(items) - at + 1):
        body = items[at : at + length]
        if len({item.block for item in body if item.block is not None}) > 1:
            break
        if not any(item.is_download for item in body):
            continue
        turns = _turns(items, at, length, blocks)
        place = _block_of(body)
        alone = sum(1 for block in blocks if block.kind is blocks[place].kind)
        # A loop runs over all blocks of its kind: one that covers fewer would send the others again.
        if turns == alone and body[-1].block is not None:
            best = (length, turns)
    return best


def _turns(items: Sequence[Item], at: int, length: int, blocks: Sequence[Block]) -> int:
    """Return how often the steps repeat, each time for the next block of the same kind."""
    body = items[at : at + length]
    first = _block_of(body)
    turns = 1
    while True:
        begin = at + turns * length
        turn = items[begin : begin + length]
        if len(turn) < length or [each.keys for each in turn] != [each.keys for each in body]:
            return turns
        place = first + turns
        same = all(each.block in (None, place) for each in turn)
        if not same or place >= len(blocks) or blocks[place].kind is not blocks[first].kind:
            return turns
        turns += 1


def fold_erase(items: Sequence[Item], areas: Sequence[tuple[int, int]]) -> list[Item]:
    """Put erase routines with address and length that stand together into a loop over the areas to be erased.

    Args:
        items: steps before ``fold``.
        areas: address and length that each of these routines named, in order.
    """
    folded: list[Item] = []
    left = list(areas)
    for item in items:
        option = item.keys.get("option", "")
        if item.keys.get("routine") != _ERASE or not _AREA.match(option) or not left:
            folded.append(item)
            continue
        left.pop(0)
        head = "44 " if option.startswith("44 ") else ""
        keys = {**item.keys, "option": head + "{address:4} {length:4}"}
        loop = Item({"for_each": "erase_area", "do": [keys]})
        if folded and folded[-1].keys.get("for_each") == "erase_area":
            continue
        folded.append(loop)
    return folded


def names_a_block(template: str) -> bool:
    """Return whether a template has fields that exist in a loop over blocks only."""
    return bool(_OF_BLOCK.search(template))
