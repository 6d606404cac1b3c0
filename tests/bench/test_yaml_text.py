"""YAML that a user wrote: every text ends in its contents or in one sentence, within a second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench import yaml_text
from otabench.bench.yaml_text import YamlMistake, load_text, parse

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGE_BOMB = "b0: &b0 {x: 1}\n" + "".join(f"b{i}: &b{i}\n  <<: [{','.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "line 4, column 5: more than 5000 keys and values, aliases counted"),
        (MERGE_BOMB, "more than 5000 keys and values, aliases counted"),
        (
            "a: " + "[" * 5000 + "]" * 5000,
            "line 1, column 43: more than 40 levels, one inside the other; write it flatter",
        ),
        ("{a: " * 5000, "more than 40 levels"),
        ("- " * 5000, "more than 40 levels"),
        ("a: [" + "1," * 130_000 + "]", "more than 5000 keys and values"),
        ("".join(f"k{i}: &a{i} v\n" for i in range(15_000)), "more than 5000 keys and values"),
        ("a: &a [*a]", "line 1, column 8: an alias stands inside its own anchor; write the value out"),
        ("a: &a {b: *a}", "an alias stands inside its own anchor"),
        ("a: " + "9" * 5000, "line 1, column 4: a number of more than 300 digits; quote it, if it is a text"),
        ("a: 0x" + "f" * 5000, "a number of more than 300 digits"),
        ("{[1]: 2}", "line 1, column 2: a list or mapping cannot be a key; write a word as the key"),
        ("? {a: b}\n: 1", "a list or mapping cannot be a key"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice; correct that line"),
        ("<<: {a: 1}\n<<: {b: 2}", "the key '<<' is given twice"),
        ("a: b\0", "line 1, column 5: the character U+0000 is not allowed; remove it"),
        ('a: "b\\0"', "line 1, column 4: the text has the character U+0000 in it; remove it"),
        ('a: "\\ud800"', "the text has the character U+D800 in it"),
        ('"\\e[2J": 1', "the text has the character U+001B in it"),
        ("a: !!int abc", "line 1, column 4: this is not a value of the type int; correct that line"),
        ("a: !!timestamp 2026-13-45", "the tag !!timestamp is not used here; remove it"),
        ("a: !!python/object/apply:os.system [id]", "the tag !!python/object/apply:os.system is not used here"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "line 2, column 1: but found another document"),
        ("k" * 100_000 + ": 1", "line 1, column"),
    ],
    ids=lambda value: value[:12],
)
def test_hostile_text_ends_in_one_sentence_within_a_second(text: str, expected: str) -> None:
    began_s = time.process_time()
    with pytest.raises(YamlMistake) as caught:
        parse(text)
    assert time.process_time() - began_s < 1.0
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_file_that_is_too_long_or_not_text_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "long.yaml").open("wb") as file:
        file.truncate(100_000_000)
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: M\xfcller\n")
    for path in (tmp_path / "long.yaml", Path("/dev/zero")):
        with pytest.raises(YamlMistake, match="the file is longer than 262144 bytes; is it the right file"):
            load_text(path)
    with pytest.raises(YamlMistake, match="line 2, column 5: it is not UTF-8 text; save it as UTF-8"):
        load_text(tmp_path / "latin.yaml")


def test_words_dates_and_times_are_text() -> None:
    assert parse("{on: off, d: 2026-11-28, t: 12:30:45, y: yes}").content == {
        "on": "off",
        "d": "2026-11-28",
        "t": "12:30:45",
        "y": "yes",
    }


def test_the_text_of_a_value_is_as_it_is_written() -> None:
    document = parse("x: &x {serial: 00420}\nlist: [0x7E0, 1.10, '007', true]\ny: {<<: *x, 010: 1}")
    assert document.content["list"] == [2016, 1.1, "007", True]
    assert document.written == {
        ("x", "serial"): "00420",
        ("list", 0): "0x7E0",
        ("list", 1): "1.10",
        ("list", 3): "true",
        ("y", "serial"): "00420",
        ("y", 8, "[key]"): "010",
        ("y", 8): "1",
    }


TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_yaml_writes_is_read_as_it_was(value: object) -> None:
    assert parse(yaml.safe_dump(value, allow_unicode=True)).content == value


@given(st.text(st.sampled_from("[]{}&*!|>'\"%@`#,?:-. \n\t0189abxeE_<~\0\ufeff\ud800"), max_size=40))
def test_no_text_leads_to_another_error(text: str) -> None:
    try:
        parse(text)
    except YamlMistake as mistake:
        assert mistake.problem and mistake.remedy and "\n" not in str(mistake)


@given(st.from_regex(r"[-+]?[0-9][0-9_.xeE]{0,8}", fullmatch=True))
def test_a_written_value_in_quotes_is_that_text(text: str) -> None:
    document = parse(f"a: {text}")
    if ("a",) in document.written:
        assert parse(f"a: '{document.written[('a',)]}'").content == {"a": text}


def test_the_limits_leave_room_for_a_large_bench() -> None:
    ecu = "  ecu{0}: {{bus: p, request_id: 0x{1:X}, response_id: 0x{2:X}, hardware_id: h{0}, serial: S{0}, features: [a, b]}}\n"
    text = "ecus:\n" + "".join(ecu.format(i, 0x600 + 2 * i, 0x601 + 2 * i) for i in range(200))
    assert len(parse(text).content["ecus"]) == 200 and len(text) < yaml_text.MAX_BYTES
