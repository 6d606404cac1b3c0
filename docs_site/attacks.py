"""The table "attack, stolen keys, outcome" in ``docs/security.md``, made of the stories in ``bench/attacks``.

    python -m docs_site.attacks            # writes the table into docs/security.md

The stories state outcomes, and the tests in ``tests/attacks`` make every attack and compare. So a row of the table is a case of a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from otabench.bench.attacks.parties import ALL_ROLES, DIRECTOR_ONLINE, IMAGE_OFFLINE, IMAGE_ONLINE, Guard, Key
from otabench.bench.attacks.stories.catalogue import STORIES
from otabench.bench.attacks.story import Case, Story

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
_HEAD: Final = "| attack | the attacker | has stolen | outcome |\n|---|---|---|---|\n"
_SETS: Final = (
    (ALL_ROLES, "all keys of both repositories"),
    (DIRECTOR_ONLINE, "all online keys of the Director"),
    (IMAGE_ONLINE | IMAGE_OFFLINE, "all keys of the Image repository but Root"),
    (IMAGE_ONLINE, "all online keys of the Image repository"),
)


def table(stories: Sequence[Story] = STORIES) -> str:
    """Return the table, and how many attacks there are and succeed."""
    cases = [case for story in stories for case in story.cases]
    open_ = sum(case.guard is None for case in cases)
    summary = f"{len(stories)} stories, {len(cases)} attacks: {len(cases) - open_} are stopped, {open_} succeed."
    rows = [_row(story, case) for story in stories for case in story.cases]
    return f"{summary}\n\n{_HEAD}" + "".join(rows)


def page(text: str) -> str:
    """Return the page with the current table.

    Raises:
        ValueError: the page does not have the place for it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name}: {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _row(story: Story, case: Case) -> str:
    test = f"[{story.title}](../tests/attacks/test_{story.name.replace('-', '_')}.py)"
    return f"| {test} | {case.name.replace('|', '')} | {_stolen(case.stolen)} | {_outcome(case)} |\n"


def _outcome(case: Case) -> str:
    if case.guard is None:
        return f"**succeeds**: {case.reaches}"
    if case.guard is Guard.DESIGN:
        return "reaches nothing"
    return f"refused by {case.guard}: `{case.refusal}`"


def _stolen(keys: frozenset[Key]) -> str:
    words, left = [], set(keys)
    for members, name in _SETS:
        if members <= left:
            words.append(name)
            left -= members
    return ", ".join([*words, *(str(key) for key in Key if key in left)]) or "nothing"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
