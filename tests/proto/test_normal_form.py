"""Strings in metadata are in Unicode Normalization Form C: typed ones are brought into it, others are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otabench.proto.normal_form import NotNormalized, require_nfc, to_nfc

COMPOSED, DECOMPOSED = "G\u00e9rard", "Ge\u0301rard"
PLACES: dict[str, Any] = {
    "a value": {"signed": {"note": DECOMPOSED}},
    "a key": {"signed": {"targets": {DECOMPOSED: {"length": 1}}}},
    "in a list": {"signed": {"roles": [["a", DECOMPOSED]]}},
    "a sign of its own": {"signed": {"unit": "\u212b"}},  # the sign for Ångström
}


@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_string_in_another_form_is_refused_wherever_it_stands(place: str, is_ascii: bool) -> None:
    metadata = json.dumps(PLACES[place], ensure_ascii=is_ascii).encode()
    with pytest.raises(NotNormalized, match=r"\\u"):
        require_nfc(metadata)


@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_what_was_normalized_passes(place: str, is_ascii: bool) -> None:
    require_nfc(json.dumps(to_nfc(PLACES[place]), ensure_ascii=is_ascii).encode())
    assert to_nfc(DECOMPOSED) == COMPOSED


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000 + b"\\u", b'{"a": "\\uZZZZ"}'])
def test_what_is_not_json_is_left_to_its_parser(content: bytes) -> None:
    require_nfc(content)
