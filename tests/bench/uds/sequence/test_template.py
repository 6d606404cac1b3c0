"""Templates and patterns: fields, widths, open bytes, and what is refused when a profile is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.uds.sequence.template import Pattern, Template, TemplateError, check_names


class Numbers:
    """A scope with one number and one value."""

    def number(self, name: str) -> int:
        return {"address": 0x0800_1234, "counter": 0x101, "data_length": 5}[name]

    def value(self, name: str, before: bytes) -> bytes:
        return {"data": b"\xaa\xbb", "so_far": bytes([len(before)])}[name]


SCOPE = Numbers()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("31 01 FF00", "3101ff00"),
        ("3101ff00", "3101ff00"),
        ("", ""),
        ("44 {address:4}", "4408001234"),
        ("{address:4:little}", "34120008"),
        ("{address:2:low}", "1234"),
        ("{address:2:low:little}", "3412"),
        ("{address:8}", "0000000008001234"),
        ("36 {counter:1:low} {data} {data_length:1}", "3601aabb05"),
        ("01 02 {so_far} 04 {so_far}", "0102020404"),
    ],
)
def test_a_template_gives_its_bytes(text: str, expected: str) -> None:
    assert Template.parse(text).render(SCOPE).hex() == expected


@given(st.binary(max_size=64), st.sampled_from(["", " ", "\n\t "]))
def test_any_bytes_are_read_whatever_the_spaces(data: bytes, space: str) -> None:
    assert Template.parse(space.join(f"{each:02X}" for each in data)).render(SCOPE) == data


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(TemplateError, match=r"address is 0x8001234, which does not fit into 2 bytes"):
        Template.parse("{address:2}").render(SCOPE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("3", "'3' is neither a byte in two hexadecimal digits nor a {field}"),
        ("31 zz", "'zz' is neither a byte"),
        ("0x31", "'0x31' is neither a byte"),
        ("{Address:4}", "{Address:4} is not a field; write {name} or {name:WIDTH}"),
        ("{address:9}", "a width is 1 to 8 bytes"),
        ("{address:0}", "a width is 1 to 8 bytes"),
        ("{address:4:litle}", "behind the name comes a width, then little or low"),
        ("{address:little}", "behind the name comes a width"),
        ("{address", "is neither a byte"),
        ("31 ??", "what is sent has no open bytes"),
        ("31 *", "what is sent has no open bytes"),
        ("* 31", "is neither a byte"),
    ],
)
def test_what_is_no_template_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template.parse(text)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "answer", "fits"),
    [
        ("71 01 FF 00 00", "7101FF0000", True),
        ("71 01 FF 00 00", "7101FF0001", False),
        ("71 01 FF 00", "7101FF0000", False),
        ("71 01 FF 00 *", "7101FF00", True),
        ("71 01 FF 00 *", "7101FF0012", True),
        ("71 01 ?? ?? 0?", "7101ABCD0F", True),
        ("71 01 ?? ?? 0?", "7101ABCD1F", False),
        ("71 01 ?? ?? ?0", "7101ABCD10", True),
        ("76 {counter:1:low} *", "7601FF", True),
        ("77 {data}", "77AABB", True),
        ("77 {data}", "77AA", False),
        ("", "", True),
    ],
)
def test_a_pattern_accepts_what_it_shows(pattern: str, answer: str, fits: bool) -> None:
    assert Pattern.parse(pattern).matches(bytes.fromhex(answer), SCOPE) is fits


@given(st.lists(st.sampled_from(["12", "??", "3?", "?4", "{data}", "{address:4}"]), max_size=8), st.booleans())
def test_every_pattern_accepts_its_own_example(parts: list[str], has_rest: bool) -> None:
    pattern = Pattern.parse(" ".join([*parts, *(["*"] if has_rest else [])]))
    assert pattern.mismatch(pattern.example(SCOPE), SCOPE) == ""


@pytest.mark.parametrize(
    ("pattern", "answer", "problem"),
    [
        ("71 01", "7102", "byte 1 is 02, where 71 01 is expected"),
        ("71 01", "71", "it ends after 1 bytes, where 71 01 is expected"),
        ("71 01", "710100", "it has 1 bytes more than 71 01"),
    ],
)
def test_what_differs_is_named(pattern: str, answer: str, problem: str) -> None:
    assert Pattern.parse(pattern).mismatch(bytes.fromhex(answer), SCOPE) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{adress:4}", "{adress} is unknown; did you mean {address}?"),
        ("{address}", "{address} needs a width in bytes, such as {address:4}"),
        ("{block_crc:4}", "{block_crc} has a width of its own; leave out the :4"),
        ("{counter:1}", "{counter} is only in a transfer"),
        ("{data}", "{data} is only in a transfer"),
    ],
)
def test_a_field_that_does_not_exist_where_it_is_used_is_found_when_the_profile_is_read(
    text: str, problem: str
) -> None:
    with pytest.raises(TemplateError) as refused:
        check_names(Template.parse(text), values={"block_crc"})
    assert problem in str(refused.value)
