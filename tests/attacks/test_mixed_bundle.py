"""Mixed bundle: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.metadata import MIXED_BUNDLE
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(MIXED_BUNDLE)
def test_mixed_bundle(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
