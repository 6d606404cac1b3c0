"""What a GET with Range, If-Range and If-None-Match asks for. Pure, after RFC 9110, sections 13 and 14.

Decides between the whole file, one part, "not modified" and "not satisfiable". Several ranges in one request are answered
with the whole file, which a server may do. ETags here are always strong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BYTES: Final = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Part:
    """What is sent: ``length`` bytes from ``start``."""

    start: int
    length: int
    status: int
    """200 the whole file, 206 a part, 304 nothing because it is known, 416 nothing because there is no such part."""


def judge(
    *, length: int, etag: str, range_: str | None = None, if_range: str | None = None, if_none_match: str | None = None
) -> Part:
    """What to send of a file.

    Args:
        length: the file's bytes.
        etag: the file's strong entity tag, with its quotes.
        range_: the header's value; None where it is absent or the method is not GET.
        if_range: as ``range_``.
        if_none_match: the header's value.
    """
    if if_none_match is not None and _matches(if_none_match, etag):
        return Part(0, 0, 304)
    whole = Part(0, length, 200)
    if range_ is None or (if_range is not None and if_range.strip() != etag):
        return whole
    match = _BYTES.fullmatch(range_.strip())
    if match is None or match.groups() == ("", ""):
        return whole  # not understood: ignored
    first, last = match.groups()
    if not first:  # the last n bytes
        wanted = min(int(last), length)
        return Part(length - wanted, wanted, 206) if wanted else Part(0, 0, 416)
    start = int(first)
    if last and int(last) < start:
        return whole  # no valid range: ignored
    if start >= length:
        return Part(0, 0, 416)
    end = min(int(last), length - 1) if last else length - 1
    return Part(start, end - start + 1, 206)


def _matches(header: str, etag: str) -> bool:
    """If-None-Match compares weakly: ``W/`` does not count."""
    if header.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in header.split(","))
