"""Forged report: each way of it has the outcome that the story states."""

from __future__ import annotations

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.stories.reports import FORGED_REPORT
from otabench.bench.attacks.story import Case
from tests.attacks.telling import MakeVehicle, attack, cases_of


@cases_of(FORGED_REPORT)
def test_forged_report(make_vehicle: MakeVehicle, cloud_door: CloudDoor, case: Case) -> None:
    attack(make_vehicle(cloud=cloud_door), case)
