"""Partial bundle: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.downloads import PARTIAL_BUNDLE
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(PARTIAL_BUNDLE)
def test_partial_bundle(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
