"""Version texts and their orders."""

from __future__ import annotations

import pytest

from otabench.proto.version_order import VersionOrder, VersionRule, path_part

LIST = VersionRule(VersionOrder.LIST, ("Blue", "Green", "Amber"))
NUMERIC = VersionRule(VersionOrder.NUMERIC)
NONE = VersionRule(VersionOrder.NONE)
SEMVER = VersionRule()


@pytest.mark.parametrize(
    ("rule", "older", "newer"),
    [
        (SEMVER, "1.9.0", "1.10.0"),
        (SEMVER, "1.0.0", "1.0.0+1"),
        (NUMERIC, "1.9", "1.10"),
        (NUMERIC, "99", "0123"),
        (NUMERIC, "2026-09-30", "2026-10-01"),
        (LIST, "Blue", "Amber"),
    ],
)
def test_one_version_follows_the_other_and_not_the_other_way_round(rule: VersionRule, older: str, newer: str) -> None:
    assert rule.is_newer(newer, than=older)
    assert not rule.is_newer(older, than=newer)
    assert not rule.is_newer(newer, than=newer)


def test_without_an_order_every_other_version_may_follow() -> None:
    assert NONE.is_newer("A", than="B")
    assert NONE.is_newer("B", than="A")
    assert not NONE.is_newer("A", than="A")


@pytest.mark.parametrize(
    ("rule", "first", "second"), [(SEMVER, "2.0.0", "2.0.0+0"), (NUMERIC, "0123", "123"), (NUMERIC, "1.10", "1.10.0")]
)
def test_two_texts_of_one_version_are_the_same_and_not_newer(rule: VersionRule, first: str, second: str) -> None:
    assert rule.is_same(first, second)
    assert not rule.is_newer(first, than=second)


@pytest.mark.parametrize("rule", [SEMVER, NUMERIC, LIST, NONE])
def test_every_version_may_follow_in_an_ecu_that_runs_nothing_but_none_is_nothing(rule: VersionRule) -> None:
    version = {VersionOrder.LIST: "Blue", VersionOrder.NUMERIC: "0"}.get(rule.order, "0.0.1")
    assert rule.is_newer(version, than="0.0.0")
    assert not rule.is_newer("0.0.0", than="0.0.0")
    with pytest.raises(ValueError, match=r"0\.0\.0"):
        rule.check("0.0.0")


@pytest.mark.parametrize(
    ("rule", "text", "words"),
    [
        (SEMVER, "2.0", "expected MAJOR.MINOR"),
        (NUMERIC, "V1.2", "expected numbers"),
        (NUMERIC, "1..2", "expected numbers"),
        (NUMERIC, "9" * 21, "expected numbers"),
        (NUMERIC, "\u0661", "expected numbers"),
        (LIST, "Red", "is not one of the list: Blue, Green, Amber"),
        (NONE, "", "1 to 64 printable characters"),
        (NONE, " A", "1 to 64 printable characters"),
        (NONE, "A\n", "1 to 64 printable characters"),
        (NONE, "A" * 65, "1 to 64 printable characters"),
    ],
)
def test_a_text_that_is_no_version_of_an_order_is_refused_with_the_reason(
    rule: VersionRule, text: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        rule.check(text)


def test_a_version_never_leads_to_another_folder() -> None:
    assert path_part("../a b/1:2") == ".._a_b_1_2"
