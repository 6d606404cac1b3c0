"""Denial of service: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.stories.clouds import DENIAL_OF_SERVICE
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(DENIAL_OF_SERVICE)
def test_denial_of_service(make_vehicle: MakeVehicle, cloud_door: CloudDoor, case: Case) -> None:
    attack(make_vehicle(cloud=cloud_door), case)
