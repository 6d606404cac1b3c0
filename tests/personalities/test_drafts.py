"""Profiles from captures: what a profile was seen to flash gives a profile that flashes the same bootloader."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from otabench.bench.uds.draft import profile as drafts
from otabench.bench.uds.draft.heard import Heard, Source
from otabench.bench.uds.draft.profile import NothingHeard
from otabench.bench.uds.errors import ProfileMistakes
from otabench.bench.uds.sequence import profile as profiles
from otabench.ecu_firmware_sim.personalities.memory import new_flash
from otabench.ecu_firmware_sim.personalities.personality import FLASH_BASE, RAM_BASE
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.bench.firmware.programs import writers
from tests.command_line import otabench
from tests.isotp_frames import frames_of
from tests.personalities.direct import DirectTester
from tests.personalities.updates import NOW, material, profile_of, program, update

NAMES = sorted(PERSONALITIES)
REQUEST, RESPONSE, FUNCTIONAL = 0x7E0, 0x7E8, 0x7DF


def heard_session(name: str, version: str = "2.0.0") -> list[Heard]:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    update(tester, profile_of(name), material(name, version))
    return tester.heard


def require_flashes(name: str, draft: Path) -> None:
    """Flash another version by the draft."""
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    update(tester, profiles.load(draft), material(name, "3.0.0"))
    assert tester.ecu.version == "3.0.0"


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_made_with_the_program_at_hand_flashes_the_next_version(name: str, tmp_path: Path) -> None:
    given = material(name, "2.0.0")
    erase = tuple((each.address, each.length) for each in given.erase)
    source = Source(name, NOW, given.blocks, erase, given.start_address)
    draft = drafts.write(heard_session(name), source)
    path = tmp_path / f"{name}.yaml"
    path.write_text(draft.text)
    require_flashes(name, path)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"records", "block-ids"}))
def test_a_draft_of_the_capture_alone_flashes_the_next_version_too(name: str, tmp_path: Path) -> None:
    # Compressed blocks and records cannot be explained without the program: their checksums count bytes that are not in the capture.
    path = tmp_path / f"{name}.yaml"
    path.write_text(drafts.write(heard_session(name), Source(name, NOW)).text)
    require_flashes(name, path)


@pytest.mark.parametrize("name", ["records", "block-ids"])
def test_a_draft_that_lacks_the_program_says_what_is_to_be_mended(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(drafts.write(heard_session(name), Source(name, NOW)).text)
    require_usable_or_commented(path)


def require_usable_or_commented(path: Path) -> None:
    """A draft is a profile, or says at each download that stands in no loop what is to be done."""
    try:
        profiles.load(path)
    except ProfileMistakes as error:
        assert all("put it into `for_each: block`" in line for line in error.as_lines())
        assert path.read_text().count("# No loop covers all blocks") == len(error.findings)


def damages(heard: list[Heard], seed: int) -> list[Heard]:
    """Return a session as a bad capture, or a tool that gave up, leaves it."""
    choice = random.Random(seed)
    left = heard[: choice.randrange(len(heard) // 2, len(heard))] if choice.random() < 0.3 else list(heard)
    for _ in range(3):
        at = choice.randrange(len(left))
        each = left[at]
        cut = choice.randrange(5)
        left[at] = choice.choice(
            [
                replace(each, request=each.request[:cut]),
                replace(each, response=each.response[:cut]),
                replace(each, response=b"\x7f"),
                replace(each, request=each.request[:1] + b"\xff" * (len(each.request) - 1)),
            ]
        )
    return [each for number, each in enumerate(left) if number != seed % len(left)]


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_session_gives_a_draft_or_a_sentence(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    try:
        path.write_text(drafts.write(damages(heard_session("secondary-bootloader"), seed), Source("mine", NOW)).text)
    except NothingHeard:
        return
    require_usable_or_commented(path)


def test_a_download_that_sent_nothing_and_a_request_that_was_cut_are_left_out() -> None:
    heard = heard_session("secondary-bootloader")
    at = next(number for number, each in enumerate(heard) if each.sid == 0x34)
    tried = [heard[at], Heard(heard[at].time_s, b"\x37", b"\x7f\x37\x24"), Heard(heard[at].time_s, b"\x31\x01\xff")]
    clean = drafts.write(heard, Source("mine", NOW)).text.splitlines()
    text = drafts.write([*heard[:at], *tried, *heard[at:]], Source("mine", NOW)).text.splitlines()
    assert "# 1 request is left out: it is too short for its service." in text
    assert text[2:][1:] == clean[2:]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("block-ids", ['option: "01 {block_id:1} 00 04 {block_crc}"', "block_crc: {checksum: CRC32-ISO-HDLC, over: block}"]),
        ("records", ['transfer: "36 {counter:1} {record_address:2:low} {data} {data_length:1} {message_crc}"', "in_progress: 0x01"]),
        ("two-levels", ["- unlock: 0x03", "timing: false", 'data: "{written_on} 4F 54 41 00 00 00"']),
        ("late-reset", ["answer: late", "answers_after_reset: true", "width: 4"]),
        ("secondary-bootloader", ['burst: "10 02"', 'exit_answer: "77 {block_crc}"', 'option: "{address:4} {length:4}"']),
        ("single-bank", ["to: all", "suppress: true", "erase_area", "written_on: {date: YYMMDD, as: bcd}"]),
    ],
)  # fmt: skip
def test_what_the_bytes_mean_is_recognized(name: str, lines: list[str]) -> None:
    given = material(name, "2.0.0")
    text = drafts.write(heard_session(name), Source(name, NOW, given.blocks)).text
    assert [line for line in lines if line not in text] == []


def test_what_cannot_be_explained_is_a_constant_with_a_comment() -> None:
    text = drafts.write(heard_session("late-reset"), Source("mine", NOW)).text
    comment = "# 2 bytes here are constants: compare them with the bootloader's document."
    assert f'{comment}\n    - write_did: 0xF15A\n      data: "55 55"' in text


def candump(heard: list[Heard], path: Path) -> None:
    """Write a session as candump does."""
    lines = []
    for each in heard:
        for data in frames_of(each.request):
            can_id = FUNCTIONAL if each.functional else REQUEST
            lines.append(f"({NOW.timestamp() + each.time_s:.6f}) vcan0 {can_id:03X}#{data.hex().upper()}")
        answers = [(each.pending_s, b"\x7f" + each.request[:1] + b"\x78")] if each.pending_s else []
        answers += [(each.response_s, each.response)] if each.response else []
        for after_s, payload in answers:
            for data in frames_of(payload):
                lines.append(
                    f"({NOW.timestamp() + each.time_s + after_s:.6f}) vcan0 {RESPONSE:03X}#{data.hex().upper()}"
                )
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def test_the_command_reads_a_candump_log_and_program_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "two-levels"
    candump(heard_session(name), tmp_path / "flash.log")
    given = material(name, "2.0.0")
    (tmp_path / "app.hex").write_bytes(writers.intel_hex([(FLASH_BASE, program("2.0.0"))]))
    (tmp_path / "driver.s19").write_bytes(writers.s_record([(RAM_BASE, given.blocks[0].data)]))
    ids = ["--request-id", "0x7E0", "--response-id", "0x7E8"]
    files = ["--image", str(tmp_path / "app.hex"), "--driver", str(tmp_path / "driver.s19")]
    draft = tmp_path / "draft.yaml"
    assert otabench("profile", "from-capture", str(tmp_path / "flash.log"), *ids, *files, "--out", str(draft)) == 0
    assert "draft.yaml written; " in capsys.readouterr().out
    require_flashes(name, draft)
    assert otabench("profile", "from-capture", str(tmp_path / "flash.log"), *ids, "--out", str(draft)) == 1
    assert "draft.yaml: File exists; name a new file with --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.log", "0x7E0", "0x7E8"], "missing.log: No such file or directory; check the path"),
        (["flash.txt", "0x7E0", "0x7E8"], "files ending in '.txt' cannot be read; known: .log"),
        (["empty.log", "0x7E0", "0x7E8"], "empty.log: no request was found: are the identifiers right"),
        (["flash.log", "0x700", "0x7E8"], "no download (34, 36, 37) among them"),
        (["flash.log", "7EX", "0x7E8"], "'7EX' is not a CAN identifier, such as 0x7E0"),
    ],
)
def test_what_is_no_flash_session_is_told(
    arguments: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    candump(heard_session("two-levels"), tmp_path / "flash.log")
    (tmp_path / "empty.log").write_text("")
    file, request, response = arguments
    assert otabench("profile", "from-capture", file, "--request-id", request, "--response-id", response) in (1, 2)
    assert problem in " ".join(capsys.readouterr().err.replace("│", " ").split())
