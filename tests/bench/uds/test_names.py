"""The bench names what a simulated ECU has: services, identifiers and routines exactly, and every negative response code.

Boards send codes that no simulated ECU sends, so the bench has more of them.
"""

from __future__ import annotations

from otabench.bench.uds import answers, names
from otabench.ecu_firmware_sim.uds.codes import Nrc, Sid
from otabench.ecu_firmware_sim.uds.data import READERS
from otabench.ecu_firmware_sim.uds.routines import ROUTINES
from otabench.ecu_firmware_sim.uds.server import SERVICES


def test_bench_and_ecu_have_the_same_services_identifiers_and_routines() -> None:
    # Only an ECU with another bootloader has authentication (``ecu_firmware_sim.personalities``).
    assert set(names.SERVICES) == set(SERVICES) | {Sid.AUTHENTICATION}
    assert set(names.DATA_IDENTIFIERS) == set(READERS)
    assert set(names.ROUTINES) == set(ROUTINES)


def test_every_code_of_the_ecu_has_a_name_and_every_name_a_remedy() -> None:
    assert set(names.NEGATIVE_RESPONSES) >= set(Nrc)
    unknown = answers.nrc_remedy(0xFE)
    assert all(answers.nrc_remedy(nrc) != unknown for nrc in names.NEGATIVE_RESPONSES)
