"""Strategies that damage what is valid. Random bytes rarely pass the first check of a reader; a valid file with few changes passes most."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

_NUMBERS: Final = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
"""Where lengths and offsets overflow."""


@st.composite
def damaged(draw: st.DrawFn, sample: bytes) -> bytes:
    """Return a file with bytes changed, numbers at their limits, parts cut out, doubled or put in; or random bytes alone."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 4))):
        # headers are at the beginning, trailers at the end
        reach = draw(st.sampled_from((32, 128, max(1, len(data)))))
        place = draw(st.integers(0, max(0, min(reach, len(data)) - 1)))
        if draw(st.integers(0, 4)) == 0:
            place = max(0, len(data) - 1 - place)
        _change(draw, data, place)
    return bytes(data)


def _change(draw: st.DrawFn, data: bytearray, place: int) -> None:
    match draw(st.sampled_from(("byte", "number", "cut", "end", "double", "insert"))):
        case "byte":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        case "number":
            width = draw(st.sampled_from((2, 4, 8)))
            number = draw(st.sampled_from(_NUMBERS)) & (256**width - 1)
            data[place : place + width] = number.to_bytes(width, draw(st.sampled_from(("little", "big"))))
        case "cut":
            del data[place : place + draw(st.integers(1, 64))]
        case "end":
            del data[place:]
        case "double":
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
        case _:
            data[place:place] = draw(st.binary(max_size=16))


texts = st.text(max_size=12) | st.sampled_from(
    ("", "../x", "/etc/passwd", "\0", "9" * 400, "1e999", "0x10", "NaN", "ä̈", "-1")
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""Anything that JSON or YAML can hold."""


@st.composite
def altered(draw: st.DrawFn, sample: Any) -> Any:
    """Return a JSON value with one or two of its parts exchanged, removed or added."""
    content = json.loads(json.dumps(sample))
    for _ in range(draw(st.integers(1, 2))):
        holder, key = content, draw(st.sampled_from(sorted(content)))
        while isinstance(holder[key], dict) and holder[key] and draw(st.integers(0, 3)):
            holder, key = holder[key], draw(st.sampled_from(sorted(holder[key])))
        match draw(st.sampled_from(("exchange", "exchange", "remove", "add"))):
            case "exchange":
                holder[key] = draw(values)
            case "remove" if len(holder) > 1:
                del holder[key]
            case _:
                holder[draw(texts)] = draw(values)
    return content
