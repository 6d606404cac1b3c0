"""Compromised gateway: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.software import COMPROMISED_GATEWAY
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(COMPROMISED_GATEWAY)
def test_compromised_gateway(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
