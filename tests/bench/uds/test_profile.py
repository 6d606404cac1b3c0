"""Flash profiles: every value has an effect, and a mistake names key and remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from otabench.bench import uds
from otabench.bench.gateway import flashing
from otabench.bench.uds import profile as profiles
from otabench.bench.uds.errors import ProfileInvalid, ProfileMistakes
from otabench.bench.uds.profile import Profile

SOURCES = [
    path for room in (flashing, uds) for path in Path(room.__path__[0]).rglob("*.py") if path.name != "profile.py"
]


def values_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from values_of(field.annotation)
        else:
            yield name


def test_every_value_of_a_profile_is_read() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    through_the_model = {"address_bytes", "length_bytes", "full", "patch", "encrypted_full", "encrypted_patch", "name"}
    through_the_model |= {"trial_limit_s"}  # Soak.require_fits
    unread = {name for name in values_of(Profile) if f".{name}" not in code}
    assert unread <= through_the_model


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("max_delay_s", "delay_max_s", "security.delay_max_s: unknown key: did you mean 'max_delay_s'?"),
        ("max_delay_s", "delay_most_s", "security.delay_most_s: unknown key: did you mean 'max_delay_s'?"),
        ("max_pending_s", "pending_most_s", "timing.pending_most_s: unknown key: did you mean 'max_pending_s'?"),
        ("max_duration_s", "most_s", "reentry.most_s: unknown key: known keys here: attempts, max_duration_s"),
        ("name: iso14229-ab\n", "", "name: this key is missing: add it"),
    ],
)
def test_a_wrong_key_is_named_with_its_remedy(tmp_path: Path, before: str, after: str, expected: str) -> None:
    shipped = Path(next(iter(uds.__path__))) / "profiles" / "iso14229-ab.yaml"
    file = tmp_path / "mine.yaml"
    file.write_text(shipped.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ProfileInvalid) as caught:
        profiles.load(str(file))
    assert expected in str(caught.value)


def test_all_mistakes_are_found_with_their_lines(tmp_path: Path) -> None:
    shipped = Path(next(iter(uds.__path__))) / "profiles" / "iso14229-ab.yaml"
    text = shipped.read_text(encoding="utf-8")
    for before, after in (("default: 0x01", "default: 0x101"), ("p2_s:", "p2s:"), ("  activate: 0x0210\n", "")):
        assert before in text
        text = text.replace(before, after, 1)
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileMistakes) as caught:
        profiles.load(str(file))
    line = {part: text[: text.index(part)].count("\n") + 1 for part in ("sessions:", "routines:  ", "p2s:")}
    assert sorted(caught.value.as_lines()) == sorted(
        [
            f"{file}, line {line['sessions:']}, sessions.default: expected at most 0xFF, found 0x101",
            f"{file}, line {line['routines:  ']}, routines.activate: this key is missing; add it",
            f"{file}, line {line['p2s:']}, timing.p2s: unknown key; did you mean 'p2_s'?",
        ]
    )
    assert f"(and 2 more: `otabench profile check {file}`)" in str(caught.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("", encoding="utf-8")
    with pytest.raises(ProfileInvalid, match=r"empty\.yaml: line 1: expected keys and values, found nothing"):
        profiles.load(str(file))
