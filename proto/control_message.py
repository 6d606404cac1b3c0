"""One line of a control port, read strictly: what JSON leaves open is refused (docs/contracts.md, "Control ports"). Pure.

A member that occurs twice, NaN, Infinity, a number that no receiver can hold, and nesting without end are all refused: Python's reader
accepts the first four, and the last one ends the reading thread.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_LINE_BYTES: Final = 65536
_MAX_WHOLE: Final = 2**64 - 1
_MAX_DIGITS: Final = 400
"""More digits make no other number, and cost time to read."""

Message = dict[str, Any]


class NotAMessage(Exception):
    """The line is not a message. Whoever sends such a line does not speak this protocol; it may be a browser."""


def parse(line: bytes) -> Message:
    """Return the message of one line.

    Raises:
        NotAMessage: the line is not one JSON object, or not strict JSON.
    """
    if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
        raise NotAMessage(f"a line has at most {MAX_LINE_BYTES} bytes")
    try:
        message = json.loads(
            line,
            object_pairs_hook=_members,
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_constant,
        )
    except RecursionError as error:
        raise NotAMessage("not JSON: nested too deeply") from error
    except ValueError as error:
        raise NotAMessage(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise NotAMessage("a line must be one JSON object")
    return message


def _members(pairs: list[tuple[str, Any]]) -> Message:
    members: Message = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"member {name[:40]!r} occurs twice")
        members[name] = value
    return members


def _whole(text: str) -> int:
    number = int(text) if len(text) <= _MAX_DIGITS else _MAX_WHOLE + 1
    if abs(number) > _MAX_WHOLE:
        raise ValueError(f"{text[:40]} has more than 64 bits")
    return number


def _real(text: str) -> float:
    number = float(text) if len(text) <= _MAX_DIGITS else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
