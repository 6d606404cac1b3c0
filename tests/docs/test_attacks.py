"""The table of attacks in docs/security.md: it is what the stories state, and every story has a test of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs_site import attacks
from otabench.bench.attacks.parties import DIRECTOR_ONLINE, Guard, Key
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.stories.catalogue import STORIES
from otabench.bench.attacks.story import Case, Story

TESTS = Path(__file__).parents[1] / "attacks"


def test_the_page_has_the_table_of_the_stories() -> None:
    text = attacks.PAGE.read_text(encoding="utf-8")
    assert text == attacks.page(text), "run: python -m docs_site.attacks"


def test_every_story_has_a_test_file_and_every_file_a_story() -> None:
    files = {each.stem for each in TESTS.glob("test_*.py")}
    assert files == {f"test_{story.name.replace('-', '_')}" for story in STORIES}


def _nothing(_: Scene) -> None: ...


def test_a_row_says_what_is_stolen_and_what_comes_of_it() -> None:
    refused = Case(
        "acts", _nothing, stolen=DIRECTOR_ONLINE | {Key.GATEWAY}, guard=Guard.ECU, refusal="manifest-refused"
    )
    succeeds = Case("acts", _nothing, reaches="everything")
    table = attacks.table([Story("a-b", "A", "", (refused, succeeds))])
    assert table.startswith("1 stories, 2 attacks: 1 are stopped, 1 succeed.")
    assert table.splitlines()[-2:] == [
        "| [A](../tests/attacks/test_a_b.py) | acts | all online keys of the Director, the gateway | refused by ECU: `manifest-refused` |",
        "| [A](../tests/attacks/test_a_b.py) | acts | nothing | **succeeds**: everything |",
    ]


def test_a_page_without_a_place_for_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="are missing"):
        attacks.page("# Security")


def test_a_case_states_either_who_stops_it_or_what_it_reaches() -> None:
    with pytest.raises(ValueError, match="give guard and refusal"):
        Case("acts", _nothing, guard=Guard.ECU)
    with pytest.raises(ValueError, match="give guard and refusal"):
        Case("acts", _nothing)
