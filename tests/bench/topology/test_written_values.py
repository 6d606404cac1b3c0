"""Remedies quote values as they are written, and names of the file that become paths are checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.errors import BenchFileError
from otabench.bench.topology import bench_file, wording
from otabench.bench.topology.model import Topology

FILE = "my.bench.yaml"
ENGINE = "bus: p, request_id: 0x7E0, response_id: 0x7E8, hardware_id: a"


def bench(*, engine: str = ENGINE, bus: str = "p: {channel: vcan0}", ecu: str = "engine") -> str:
    return f"vehicle: {{vin: W0TABENCH00000001}}\nbuses: {{{bus}}}\necus: {{{ecu}: {{{engine}}}}}\n"


def problems_of(text: str) -> list[str]:
    """Return the file's mistakes, without its name."""
    try:
        bench_file.parse(text, name=FILE)
    except BenchFileError as error:
        return [line.removeprefix(f"{FILE}: ") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bench(engine=f"{ENGINE}, serial: 00420"), "ecus.engine.serial: expected text, found 00420; quote it: '00420'"),
        (bench(engine=f"{ENGINE}, serial: 0x1F"), "ecus.engine.serial: expected text, found 0x1F; quote it: '0x1F'"),
        (bench(engine=f"{ENGINE}, serial: true"), "ecus.engine.serial: expected text, found true; quote it: 'true'"),
        (
            bench(engine=f"{ENGINE}, part_number: 1.10"),
            "ecus.engine.part_number: expected text, found 1.10; quote it: '1.10'",
        ),
        (
            bench(engine=ENGINE.replace("0x7E0", "0x20000000")),
            "ecus.engine.request_id: expected at most 0x1FFFFFFF, found 0x20000000; correct the value",
        ),
        (
            bench(bus="p: {channel: vcan0, bitrate: 0500000}"),
            "buses.p.bitrate: 0500000 is the number 163840 for YAML 1.1, which reads it as octal; write 163840, or 500000 if that is meant",
        ),
        (bench(bus="p: {channel: vcan0}, 010: {channel: vcan1}"), "buses.8: the name is not text; quote it: '010'"),
        (
            bench(bus="p: {channel: -1}"),
            "buses.p.channel: -1 does not fit; expected a name, or a number from 0 to 2147483647",
        ),
        (
            bench(engine=f"{ENGINE}, security: {'ab' * 32}"),
            "ecus.engine.security: expected keys and values, found a secret of 64 characters; write `security: {key: …}`",
        ),
        (
            bench(engine=f"{ENGINE}, security: [{'ab' * 32}]"),
            "ecus.engine.security: expected keys and values, found ['…']; write `security: {key: …}`",
        ),
        (
            bench(engine=f"{ENGINE}, security: {{secret: {'1' * 64}}}"),
            "ecus.engine.security.secret: expected text, found a secret of 64 characters; quote it",
        ),
    ],
)
def test_a_remedy_quotes_what_is_written(text: str, expected: str) -> None:
    assert problems_of(text) == [expected]


def test_empty_sections_are_answered_in_plain_words() -> None:
    # kind: pydantic's own words (dictionary, item, validation) never reach a user
    assert problems_of("vehicle: {vin: W0TABENCH00000001}\nbuses: {}\necus: {}\n") == [
        "buses: expected at least 1 entry, found nothing; correct the value",
        "ecus: expected at least 1 entry, found nothing; correct the value",
    ]


def test_a_secret_is_never_quoted_whatever_is_wrong_with_it() -> None:
    detail = {"loc": ("ecus", "engine", "security", "secret"), "msg": "", "input": "c0ffee" * 9}
    for kind, limits in (("string_too_long", {"max_length": 32}), ("string_too_short", {"min_length": 99})):
        finding = wording.field_finding({**detail, "type": kind, "ctx": limits})
        assert "a secret of 54 characters" in finding.problem
        assert "c0ffee" not in str(finding)


def test_a_setting_of_python_can_is_quoted_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAN_BITRATE", "0x42")
    (problem,) = problems_of(bench())
    assert ": expected a number, found '0x42'" in problem
    monkeypatch.setenv("CAN_BITRATE", "007")
    (problem,) = problems_of(bench())
    assert ": expected at least 10000, found 007" in problem


SCALARS = st.from_regex(r"[-+]?[0-9][0-9_.xeE]{0,9}", fullmatch=True) | st.sampled_from(
    ["true", "null", "~", "0o17", "-0", "+7", "1_0", ".5", ".inf", "0b11", "1e3", "1.0e+3", "2026-11-28", "12:30"]
)


@given(st.sampled_from(["serial", "part_number", "hardware_id"]), SCALARS)
def test_a_followed_remedy_gives_the_value_that_was_written(key: str, written: str) -> None:
    engine = ENGINE.replace(
        "hardware_id: a", "hardware_id: {}" if key == "hardware_id" else f"hardware_id: a, {key}: {{}}"
    )
    problems = problems_of(bench(engine=engine.format(written)))
    quoted = [found[1] for found in (re.search(r"quote it: '(.*)'$", problem) for problem in problems) if found]
    if quoted:
        assert quoted == [written]
        followed = problems_of(bench(engine=engine.format(f"'{written}'")))
        assert not any("quote it" in problem for problem in followed)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "..", ".hidden", "", "a b", "x" * 33, "a/b", "ü"])
def test_a_name_that_becomes_a_path_is_checked(name: str) -> None:
    (problem,) = problems_of(bench(bus=f"p: {{channel: vcan0}}, '{name}': {{channel: vcan1}}"))
    assert problem.startswith(f"buses.{name}: {name!r} is not a bus name; use at most 32 letters, digits")
    (problem,) = problems_of(bench(ecu=f"'{name}'"))
    assert f"{name!r} is not a valid ECU name" in problem


@pytest.mark.parametrize("name", ["p", "HS-CAN", "body.left", "1", "chassis_2"])
def test_usual_names_of_buses_are_names(name: str) -> None:
    assert (
        problems_of(bench(bus=f"'{name}': {{channel: vcan0}}", engine=ENGINE.replace("bus: p", f"bus: '{name}'"))) == []
    )


@pytest.mark.parametrize("channel", ["../../etc", "..", "vcan0/x", "much-too-long-name", "a b"])
def test_a_socketcan_channel_is_the_name_of_an_interface(channel: str) -> None:
    (problem,) = problems_of(bench(bus=f"p: {{channel: '{channel}'}}"))
    assert problem.startswith(f"buses.p.channel: {channel!r} is not the name of a network interface; Linux allows")


def test_a_file_that_cannot_be_yaml_is_one_line_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    for content, expected in (
        (b"a: " + b"[" * 5000, ": line 1, column 43: more than 40 levels, one inside the other; write it flatter"),
        (b"x" * 300_000, ": the file is longer than 262144 bytes; is it the right file?"),
        (b"a: \xff", ": line 1, column 4: it is not UTF-8 text; save it as UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(BenchFileError) as caught:
            bench_file.load(path)
        assert str(caught.value) == f"{path}{expected}"


KEYS = [
    *Topology.model_fields,
    "engine",
    "p",
    "channel",
    "interface",
    "options",
    "isotp",
    "power",
    "security",
    "periodic",
    "bus",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["p", "vcan0", "socketcan", "pcan", "", "ü/"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.integers(0, 2), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.fixed_dictionaries({"vehicle": VALUES, "buses": VALUES, "ecus": VALUES}))
def test_any_contents_end_in_findings_of_one_line(contents: dict[str, object]) -> None:
    assert all(problem and len(problem) < 600 for problem in problems_of(yaml.safe_dump(contents)))
