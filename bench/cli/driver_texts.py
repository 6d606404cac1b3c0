"""What the driver reads about an update, from a YAML file: a language tag, and below it the texts in that language.

en: {purpose: "Important for safety.", unavailable: "Lane keeping"}
de: {name: "Herbstversion", release_notes: "Der Motor startet ruhiger.", purpose: "Wichtig für die Sicherheit."}
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from otabench.bench import yaml_text
from otabench.bench.errors import UnknownName, WrongUsage
from otabench.bench.model_words import words
from otabench.proto.driver_texts import LANGUAGE_PATTERN, DriverTexts


class _Strict(DriverTexts):
    model_config = ConfigDict(frozen=True, extra="forbid")


def read_driver_texts(path: Path) -> dict[str, DriverTexts]:
    """Return the texts of a file, by language.

    Raises:
        WrongUsage: the file cannot be read, or has a wrong language or key.
    """
    try:
        content = yaml_text.parse(yaml_text.load_text(path)).content
    except OSError as error:
        raise WrongUsage(f"{path}: cannot be read: {error.strerror}") from error
    except yaml_text.YamlMistake as error:
        raise WrongUsage(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise WrongUsage(f"{path}: expected languages, each with its texts, such as `en: {{purpose: …}}`")
    found = {}
    for language, texts in content.items():
        if not re.fullmatch(LANGUAGE_PATTERN, str(language)):
            raise WrongUsage(f"{path}: {str(language)[:40]!r} is not a language tag, such as de or zh-Hant")
        try:
            found[str(language)] = DriverTexts(**_Strict.model_validate(texts).model_dump())
        except ValidationError as error:
            raise WrongUsage(f"{path}: {language}: {_words(error)}") from None
    return found


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        problem, _ = words(dict(first))
        return f"{key}: {problem}" if key else problem
    return str(UnknownName("text", key, DriverTexts.model_fields))
