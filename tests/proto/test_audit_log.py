"""The audit log: whatever is changed, removed, inserted or cut off is found; a crash is not taken for an attack."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from otabench.proto.audit_log import AuditError, AuditLog, read, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "audit")
    for number in range(6):
        log.append(who="CN=operator", what="CreateCampaign", outcome="OK", vins=[f"VIN{number}"], hashes=["ab" * 32])
    log.close()
    return tmp_path / "audit"


def _lines(folder: Path) -> list[bytes]:
    return (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)


def _write(folder: Path, lines: list[bytes]) -> None:
    (folder / "audit.jsonl").write_bytes(b"".join(lines))


def test_an_untouched_log_is_valid_and_readable(folder: Path) -> None:
    assert verify(folder) == []
    assert [entry["vins"] for entry in read(folder)] == [[f"VIN{number}"] for number in range(6)]
    assert (folder / "audit.key").stat().st_mode & 0o777 == 0o600


def test_it_goes_on_after_a_restart_and_with_two_writers(folder: Path) -> None:
    one, two = AuditLog(folder), AuditLog(folder)
    for log in (one, two, one):
        log.append(who="x", what="y", outcome="OK")

    assert verify(folder) == []
    assert [entry["line"] for entry in read(folder)] == list(range(1, 10))


_ATTACKS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line is removed": lambda lines: lines[:2] + lines[3:],
    "the first line is removed": lambda lines: lines[1:],
    "the last line is removed": lambda lines: lines[:-1],
    "the end is cut in a line": lambda lines: [*lines[:-1], lines[-1][:40]],
    "all is removed": lambda _: [],
    "a line is changed": lambda lines: [*lines[:3], lines[3].replace(b"VIN3", b"VIN9"), *lines[4:]],
    "the last line is changed": lambda lines: [*lines[:-1], lines[-1].replace(b"VIN5", b"VIN9")],
    "two lines are exchanged": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a line is repeated": lambda lines: [*lines, lines[-1]],
    "something is inserted": lambda lines: [lines[0], b"{}\n", *lines[1:]],
}


@pytest.mark.parametrize("attack", _ATTACKS.values(), ids=_ATTACKS.keys())
def test_every_change_is_found(folder: Path, attack: Callable[[list[bytes]], list[bytes]]) -> None:
    _write(folder, attack(_lines(folder)))

    assert verify(folder)


def test_every_byte_counts(folder: Path) -> None:
    whole = (folder / "audit.jsonl").read_bytes()
    for position in random.Random(11).sample(range(len(whole)), 150):
        changed = bytearray(whole)
        changed[position] ^= 1
        (folder / "audit.jsonl").write_bytes(changed)
        assert verify(folder), f"byte {position}"


def test_a_head_that_counts_less_must_be_signed(folder: Path) -> None:
    _write(folder, _lines(folder)[:-1])
    head = folder / "audit.head"
    head.write_text(head.read_text().replace('"lines": 6', '"lines": 5'))

    assert "signature" in verify(folder)[0].text


@pytest.mark.parametrize("kept", [0, 1, 40, -2, -1])
def test_a_line_torn_by_a_crash_is_closed_by_the_next_start(folder: Path, kept: int) -> None:
    # given: killed in the middle of a line, before the head counted it
    head = (folder / "audit.head").read_bytes()
    log = AuditLog(folder)
    log.append(who="x", what="torn", outcome="OK")
    log.close()
    lines = _lines(folder)
    _write(folder, [*lines[:-1], lines[-1][:kept]])
    (folder / "audit.head").write_bytes(head)

    after = AuditLog(folder)
    after.append(who="x", what="next", outcome="OK")

    assert verify(folder) == []
    torn = {0: [], -1: ["torn"]}.get(kept, ["audit.torn"])
    assert [entry["what"] for entry in read(folder)][6:] == [*torn, "next"]


def test_a_line_that_the_head_does_not_count_yet_is_valid(folder: Path) -> None:
    head = (folder / "audit.head").read_bytes()
    log = AuditLog(folder)
    log.append(who="x", what="y", outcome="OK")
    (folder / "audit.head").write_bytes(head)

    assert verify(folder) == []


def test_a_key_that_others_may_use_is_refused(folder: Path) -> None:
    (folder / "audit.key").chmod(0o644)

    with pytest.raises(AuditError, match="mode 0644"):
        AuditLog(folder)
