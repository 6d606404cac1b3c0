"""Judge a GET with Range, If-Range and If-None-Match: send the whole file, a part, 304 or 416 (RFC 9110, 13 and 14).

* A Range that is invalid or uses other units than bytes is ignored (14.2). The answer is the whole file, not an error.
* For several ranges the answer is the whole file, too, which 14.2 permits. Gateways never request several, so multipart/byteranges is not
  implemented.
* Entity tags are strong. If-Range compares them exactly (13.1.5), and If-None-Match compares them weakly (13.1.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_BYTES: Final = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Part:
    """The part of a file that is sent: ``length`` bytes from ``start``."""

    start: int
    length: int
    status: int
    """200: the whole file. 206: a part. 304: nothing, because the client has the file. 416: nothing, because the file has no such part."""


def judge(
    *, length: int, etag: str, range_: str | None = None, if_range: str | None = None, if_none_match: str | None = None
) -> Part:
    """Return which part of a file to send.

    Args:
        length: size of the file in bytes.
        etag: the file's strong entity tag, with its quotes.
        range_: the header's value; None if it is absent or the method is not GET.
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
        return whole  # invalid, several, or another unit: ignored
    first, last = match.groups()
    if not first:  # the last n bytes
        count = min(int(last), length)
        return Part(length - count, count, 206) if count else Part(0, 0, 416)
    start = int(first)
    if last and int(last) < start:
        return whole  # invalid (14.1.1): ignored
    if start >= length:
        return Part(0, 0, 416)
    end = min(int(last), length - 1) if last else length - 1
    return Part(start, end - start + 1, 206)


def _matches(header: str, etag: str) -> bool:
    """Return whether If-None-Match matches the tag. The comparison is weak: it ignores ``W/``."""
    if header.strip() == "*":
        return True
    return any(tag.strip().removeprefix("W/") == etag for tag in header.split(","))
