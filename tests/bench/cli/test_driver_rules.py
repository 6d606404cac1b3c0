"""The options about the driver's decision: what they state, and mistakes in the user's words."""

from __future__ import annotations

import pytest

from otabench.bench.cli.driver_rules import parse_rules
from otabench.bench.errors import WrongUsage
from otabench.proto.driver_rules import DriverRules


def test_the_options_are_the_rules_of_the_campaign() -> None:
    assert parse_rules(max_reminders=None, ask_before_download=False, install_by=None) == DriverRules()
    stated = parse_rules(max_reminders=0, ask_before_download=True, install_by="2027-01-31T18:00+01:00")
    assert stated == DriverRules(max_reminders=0, asks_before_download=True, install_by=1_801_414_800)


@pytest.mark.parametrize("time", ["soon", "", "2027-13-01", "1900-01-01T00:00+00:00"])
def test_a_time_that_is_none_is_told_with_an_example(time: str) -> None:
    with pytest.raises(WrongUsage, match="--install-by"):
        parse_rules(max_reminders=None, ask_before_download=False, install_by=time)
