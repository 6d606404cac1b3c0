"""What a test needs and does not find is a skip with its remedy, and a failure where everything is required."""

from __future__ import annotations

import pytest
from _pytest.outcomes import Failed, Skipped

from tests.needs import check_needs, needs

REMEDY = "gcc is missing: setup/packages.sh test"


@pytest.mark.parametrize(
    ("required", "outcome"), [("", Skipped), ("vcan", Skipped), ("all", Failed), ("vcan,all", Failed)]
)
def test_a_test_that_misses_something_does_not_run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(request.config.option, "require", required)
    request.node.add_marker(needs(None, REMEDY))
    with pytest.raises(outcome, match=REMEDY):
        check_needs(request.node)


def test_a_test_that_has_what_it_needs_runs(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(needs("/usr/bin/gcc", REMEDY))
    check_needs(request.node)
