"""Mix and match: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.metadata import MIX_AND_MATCH
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(MIX_AND_MATCH)
def test_mix_and_match(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
