"""The bench's names are of what an ECU of the profile has: no more, no less."""

from __future__ import annotations

from bench import uds_names
from ecu_firmware_sim.uds.codes import Nrc
from ecu_firmware_sim.uds.data import READERS
from ecu_firmware_sim.uds.routines import ROUTINES
from ecu_firmware_sim.uds.server import SERVICES


def test_names_and_the_ecu_know_the_same_services_identifiers_routines_and_codes() -> None:
    assert set(uds_names.SERVICES) == set(SERVICES)
    assert set(uds_names.DATA_IDENTIFIERS) == set(READERS)
    assert set(uds_names.ROUTINES) == set(ROUTINES)
    assert set(uds_names.NEGATIVE_RESPONSES) == set(Nrc)
