"""Sequence profiles as files: mistakes are found when they are read, all at once; the shipped ones send what real bootloaders want."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest

from otabench.bench.uds.errors import ProfileMistakes
from otabench.bench.uds.sequence.dry_run import Sent, dry_run
from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material
from otabench.bench.uds.sequence.profile import load, shipped
from otabench.bench.uds.sequence.steps import KIND_NAMES

NOW = datetime(2026, 11, 28, tzinfo=UTC)
MATERIAL = Material(
    (
        Block(0x2000_0010, b"driver", BlockKind.DRIVER, block_id=0x30),
        Block(0x0800_0000, bytes(range(70)), block_id=1, records=((0x0800_0000, b"ab"), (0x0800_0002, b"cd"))),
    ),
    erase=(EraseArea(0x0800_0000, 0x1000),),
    start_address=0x2000_0011,
    settings={"tester_serial": "OTA", "workshop_code": "WS"},
)


def paper(name: str) -> list[Sent]:
    path = resources.files("otabench.bench.uds.sequence.profiles") / f"{name}.yaml"
    return dry_run(load(Path(str(path))), MATERIAL, now=NOW)


def frames(name: str) -> list[str]:
    return [each.payload[:15].hex(" ").upper() for each in paper(name) if each.payload]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_profile_is_free_of_mistakes_and_runs_on_paper(name: str) -> None:
    assert any(each.payload[:1] == b"\x34" for each in paper(name))


def test_block_ids_stand_in_place_of_addresses() -> None:
    sent = frames("block-ids")
    assert "34 00 41 30 00 00 00 06" in sent
    crc = zlib.crc32(b"driver").to_bytes(4, "big").hex(" ").upper()
    assert f"31 01 02 02 01 30 00 04 {crc}" in sent
    assert "31 01 FF 00 01 01" in sent
    assert "31 01 FF 00 01 30" not in sent, "a driver in RAM is not erased"
    assert "2E F1 5A 26 11 28 57 53 00 00 00 00" in sent


def test_records_are_the_payload() -> None:
    sent = frames("records")
    assert sent[3:5] == ["31 01 FF 00 82 F0 5A", "34 82 11 00 00"]
    assert [each[:20] for each in sent[5:7]] == ["36 01 00 00 61 62 02", "36 02 00 02 63 64 02"]


def test_two_levels_and_a_fingerprint_behind_the_erase() -> None:
    sent = frames("two-levels")
    assert [each for each in sent if each.startswith(("10", "85", "28"))] == [
        "10 83", "85 82", "28 83 03", "10 03", "10 02", "28 80 03", "85 81",
    ]  # fmt: skip
    assert sent.index("2E F1 5A 26 11 28 4F 54 41 00 00 00") > sent.index("31 01 FF 00 44 08 00 00 00 00 00 10 00")
    assert [each for each in sent if each.startswith("27 0") and len(each) == 5] == ["27 01", "27 03"]


def test_a_secondary_bootloader_is_started_at_its_call_address() -> None:
    sent = paper("secondary-bootloader")
    assert (sent[0].payload.hex(), sent[0].functional, sent[0].times) == ("1002", True, 401)
    started = next(each for each in sent if each.payload[:4].hex() == "31010301")
    assert started.payload[4:].hex() == "20000011"
    assert "31 01 FF 00 08 00 00 00 00 00 10 00" in frames("secondary-bootloader")


def test_an_answer_crosses_the_reset() -> None:
    sent = frames("late-reset")
    assert [each for each in sent if each.startswith("31 01 FF 00")] == ["31 01 FF 00"], "without an option"
    assert sent[-1] == "11 01"


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ProfileMistakes) as refused:
        load(path)
    return [line.removeprefix(f"{path}, ") for line in refused.value.as_lines()]


def test_all_mistakes_are_told_at_once_with_their_place(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
name: mine
sequences:
  programming:
    - sesion: 2
    - session: 300
    - request: 1003
    - for_each: block
      do:
        - routine: 0xFF00
          option: "0x44"
  confirm:
    - wait: -1
values:
  crc: {checksum: CRC-32/MPEG2X}
""",
    )
    assert found[0].startswith("line 5, programming step 1: a step has one key that names its kind: request, session")
    assert found[1].startswith("line 6, programming step 2 session: expected at most 255, found 300")
    assert found[2].startswith("line 7, programming step 3 request: 1003 must be in quotes")
    assert found[3].startswith("line 11, programming step 4 do step 1 option: '0x44': '0x44' is neither a byte")
    assert found[4].startswith("line 13, confirm step 1 wait: expected at least 0, found -1")
    assert found[5] == "line 15, values crc checksum: there is no checksum 'CRC-32/MPEG2X'; did you mean CRC32-MPEG-2?"
    assert len(found) == 6
    assert found[0].endswith("; did you mean 'session'?")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {session: 2, expct: '50 *'}", "line 4, programming step 1 expct: unknown key; did you mean 'expect'?"),
        ("- {routine: 1, status: {doen: 0}}", "programming step 1 status doen: unknown key; did you mean 'done'?"),
        ("- {wait: 1}\ntimes: {p2: 1}", "line 5, times p2: unknown key; did you mean 'p2_s'?"),
        ("- {wait: 1}\nsequnces: {}", "line 5, sequnces: unknown key; did you mean 'sequences'?"),
        ("- {wait: 1}\nslots: {kind: sinlge}", "'version_only' or 'single', found 'sinlge'; did you mean 'single'?"),
        ("- {wait: 1}\nvalues: {x: {checksum: X-25, ovr: all}}", "ovr: unknown key; did you mean 'over'?"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_one_that_was_meant(text: str, problem: str, tmp_path: Path) -> None:
    whole = f"name: mine\nsequences:\n  programming:\n    {text}\n"
    assert problem in "\n".join(problems(tmp_path, whole))


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ('request: "31 {adress:4}"', "programming step 1 request: {adress} is unknown; did you mean {address}?"),
        ('write_did: 1\n      data: "{crc}"', "programming step 1 data: {crc} is unknown"),
        ("download: block", "programming step 1: download sends the block of a loop: put it into `for_each: block`"),
        ('request: "{later}"', "{later} is unknown"),
        ('request: "{challenge}"', "{challenge} is unknown"),
        (
            "unlock: 1\n      choose_by: later",
            "programming step 1 choose_by: there is no value 'later' by then; known: none",
        ),
        ('request: "04"\n      request_id: 0x700\n      to: all', "request_id and `to: all` are both given: keep one"),
        ('request: "04"\n      response_id: 0x7E8', "response_id needs request_id, the identifier of the request"),
        ("authenticate: bidirectional", "expected 'unidirectional', found 'bidirectional'"),
    ],
)
def test_what_no_single_step_can_see_is_found_too(step: str, problem: str, tmp_path: Path) -> None:
    text = f'name: mine\nsequences:\n  programming:\n    - {step}\n    - request: "22 F1 00"\n      save: later\n'
    assert problem in "\n".join(problems(tmp_path, text))


def test_mistakes_among_valid_steps_are_told_beside_invalid_ones(tmp_path: Path) -> None:
    text = """name: mine
sequences:
  programming:
    - session: many
    - read_did: 0x1F15A
      save: ident
    - request: "22 {adress:4}"
    - for_each: block
      do:
        - reset: 300
        - routine: 1
          option: "{ident} {crc}"
    - download: block
  activate: 5
"""
    assert [line.split(";")[0] for line in problems(tmp_path, text)] == [
        "line 4, programming step 1 session: expected a number, found 'many'",
        "line 5, programming step 2 read_did: expected at most 0xFFFF, found 0x1F15A",
        "line 10, programming step 4 do step 1 reset: expected at most 255, found 300",
        "line 14, activate: expected keys and values, found 5",
        "line 7, programming step 3 request: {adress} is unknown",
        "line 12, programming step 4 do step 2 option: {crc} is unknown",
        "line 13, programming step 5: download sends the block of a loop: put it into `for_each: block`",
    ]


@pytest.mark.parametrize(
    "step", ["{save: 'A b', read_did: x}", "5", "{do: 3, repeat: 1}", "{repeat: 1, do: [[]]}", "null"]
)
def test_steps_of_any_shape_are_mistakes_and_no_more(step: str, tmp_path: Path) -> None:
    assert problems(tmp_path, f"name: mine\nsequences: {{programming: [{step}]}}\n")


def test_a_section_that_is_missing_or_of_another_kind_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path, "name: mine\n") == ["line 1, sequences: this key is missing; add it"]
    assert problems(tmp_path, "name: mine\nsequences: 3\n") == ["line 2, sequences: expected keys and values, found 3"]


def test_a_misspelt_section_is_not_missing_too(tmp_path: Path) -> None:
    found = problems(tmp_path, "name: mine\nsequences: {programing: []}\n")
    assert found == ["line 2, programing: unknown key; did you mean 'programming'?"]


def test_a_value_may_not_hide_a_number(tmp_path: Path) -> None:
    text = "name: mine\nsequences: {programming: []}\nvalues: {address: {text: x}}\n"
    assert problems(tmp_path, text) == ["line 3, values: address exists in every template; choose another name"]


def test_every_kind_of_step_is_in_a_shipped_profile_or_documented_here() -> None:
    text = "".join(
        each.read_text(encoding="utf-8")
        for each in resources.files("otabench.bench.uds.sequence.profiles").iterdir()
        if each.name.endswith(".yaml")
    )
    missing = [kind for kind in KIND_NAMES if f"{kind}:" not in text]
    assert missing == ["repeat"], "shown in docs/profiles.md"


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        (b"a: [", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"just text", "line 1: expected keys and values, found 'just text'"),
        (b"", "expected keys and values, found nothing"),
    ],
)
def test_a_file_that_is_no_profile_is_named(contents: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(contents)
    with pytest.raises(ProfileMistakes, match=problem):
        load(path)
    with pytest.raises(ProfileMistakes, match="cannot be read"):
        load(tmp_path / "missing.yaml")
