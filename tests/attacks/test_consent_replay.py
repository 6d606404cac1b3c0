"""Consent replay: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.stories.consents import CONSENT_REPLAY
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(CONSENT_REPLAY)
def test_consent_replay(make_vehicle: MakeVehicle, case: Case) -> None:
    attack(make_vehicle(), case)
