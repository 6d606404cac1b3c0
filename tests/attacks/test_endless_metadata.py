"""Endless metadata: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.metadata import ENDLESS_METADATA
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(ENDLESS_METADATA)
def test_endless_metadata(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
