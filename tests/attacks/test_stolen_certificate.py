"""Stolen certificate: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.stories.clouds import STOLEN_CERTIFICATE
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(STOLEN_CERTIFICATE)
def test_stolen_certificate(make_vehicle: MakeVehicle, cloud_door: CloudDoor, case: Case) -> None:
    attack(make_vehicle(cloud=cloud_door), case)
