"""Arbitrary software: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.software import ARBITRARY_SOFTWARE
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(ARBITRARY_SOFTWARE)
def test_arbitrary_software(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
