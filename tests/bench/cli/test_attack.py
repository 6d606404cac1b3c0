"""``otabench attack``: the list, and a name that does not exist."""

from __future__ import annotations

import pytest

from otabench.bench.attacks.stories import catalogue
from otabench.bench.cli.attack import attack
from otabench.bench.errors import UnknownName


def test_the_list_names_every_attack_once(capsys: pytest.CaptureFixture[str]) -> None:
    attack("list")
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [story.name for story in catalogue.STORIES]
    assert len(set(names)) == len(names)


def test_a_name_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"rolback.*rollback"):
        attack("rolback")
