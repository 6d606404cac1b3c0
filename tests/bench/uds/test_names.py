"""The bench's names are of what an ECU of the profile has: no more, no less."""

from __future__ import annotations

from otabench.bench.uds import names
from otabench.ecu_firmware_sim.uds.codes import Nrc
from otabench.ecu_firmware_sim.uds.data import READERS
from otabench.ecu_firmware_sim.uds.routines import ROUTINES
from otabench.ecu_firmware_sim.uds.server import SERVICES


def test_names_and_the_ecu_know_the_same_services_identifiers_routines_and_codes() -> None:
    assert set(names.SERVICES) == set(SERVICES)
    assert set(names.DATA_IDENTIFIERS) == set(READERS)
    assert set(names.ROUTINES) == set(ROUTINES)
    assert set(names.NEGATIVE_RESPONSES) == set(Nrc)
