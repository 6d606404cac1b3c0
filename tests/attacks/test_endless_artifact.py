"""Endless artifact: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.downloads import ENDLESS_ARTIFACT
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(ENDLESS_ARTIFACT)
def test_endless_artifact(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
