"""Clock set back: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.clocks import CLOCK
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(CLOCK)
def test_clock(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
