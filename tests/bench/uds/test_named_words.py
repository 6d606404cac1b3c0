"""The words for named steps are what the gateway sends."""

from __future__ import annotations

import pytest

from otabench.bench.gateway.flashing.steps import functional_request
from otabench.bench.uds import named_words
from otabench.bench.uds.profile import Step, load


@pytest.mark.parametrize("step", Step)
def test_a_step_is_shown_with_what_is_sent(step: Step) -> None:
    profile = load("iso14229-ab")
    shown = {row.step: row for rows in named_words.acts(profile).values() for row in rows}
    request = functional_request(step, profile)
    row = shown[step.replace("_", " ")]
    assert row.request and row.answer
    assert request is None or row.request == request.hex(" ").upper()


def test_what_a_profile_leaves_out_is_not_shown() -> None:
    profile = load("iso14229-ab")
    routines = profile.routines.model_copy(update={"check_dependencies": None, "erase": None})
    acts = named_words.acts(profile.model_copy(update={"routines": routines}))
    assert "check dependencies" not in [row.step for row in acts["activate"]]
    assert [row.notes for row in acts["programming"] if row.step == "erase"] == [
        "skipped: the profile has no routine for it"
    ]
