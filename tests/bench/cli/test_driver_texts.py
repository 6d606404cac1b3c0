"""The file with what the driver reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from otabench.bench.cli.driver_texts import read_driver_texts
from otabench.bench.errors import WrongUsage
from otabench.proto.driver_texts import DriverTexts


def test_texts_are_read_by_language(tmp_path: Path) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text("en: {purpose: Important.}\nno: {name: Høst}\nzh-Hant: {}\n", encoding="utf-8")
    assert read_driver_texts(path) == {
        "en": DriverTexts(purpose="Important."),
        "no": DriverTexts(name="Høst"),
        "zh-Hant": DriverTexts(),
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a", "expected languages"),
        ("English: {}", "'English' is not a language tag, such as de or zh-Hant"),
        ("en: {purpos: x}", "en: there is no text 'purpos'; did you mean 'purpose'?"),
        ("en: x", "en: expected keys and values, found 'x'"),
        ("en: {purpose: [1]}", "en: purpose: expected text, found a list"),
        ("en: {", "texts.yaml: "),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "texts.yaml"
    path.write_text(content)
    with pytest.raises(WrongUsage) as caught:
        read_driver_texts(path)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="cannot be read: No such file"):
        read_driver_texts(tmp_path / "none.yaml")
