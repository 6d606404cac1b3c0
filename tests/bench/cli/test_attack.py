"""``otabench attack``: the list, and a name that does not exist."""

from __future__ import annotations

import pytest

from otabench.bench.attacks.stories import catalogue
from otabench.bench.cli.attack import attack
from otabench.bench.errors import UnknownName


def test_the_list_names_every_attack_once(capsys: pytest.CaptureFixture[str]) -> None:
    attack("list")
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert names == [story.name for story in catalogue.STORIES]
    assert len(set(names)) == len(names)
    # and each summary differs: a list whose lines repeat the names, or one another, tells a reader nothing
    summaries = [story.what_happens.split(". ")[0] for story in catalogue.STORIES]
    assert len(set(summaries)) == len(summaries)


def test_a_name_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"rolback.*rollback"):
        attack("rolback")
