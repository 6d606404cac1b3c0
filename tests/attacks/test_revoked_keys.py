"""Revoked keys: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.stolen_keys import REVOKED_KEYS
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(REVOKED_KEYS)
def test_revoked_keys(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
