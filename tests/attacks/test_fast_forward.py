"""Fast forward: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.stolen_keys import FAST_FORWARD
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(FAST_FORWARD)
def test_fast_forward(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
