"""Trouble codes of a running ECU: set by what happens to it, persisted at once, with time and job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.proto.process_config import EcuTiming
from tests.ecu_firmware_sim.factory import Keys
from tests.ecu_firmware_sim.line import Line, Rig


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, old_image: bytes) -> Iterator[Rig]:
    rig = Rig(Line("user", "normal", False), tmp_path, keys, old_image, timing=EcuTiming(boot_s=0.0))
    yield rig
    rig.close()


@pytest.mark.parametrize(("volts", "code"), [(8, "05 62 00"), (17, "05 63 00")])
def test_a_supply_out_of_range_sets_its_code(rig: Rig, volts: float, code: str) -> None:
    rig.fault("voltage", volts=volts)
    assert rig.ask("19 02 08") == f"59 02 2F {code} 2F"


def test_while_dtc_setting_is_off_a_supply_that_recovers_sets_none(rig: Rig) -> None:
    rig.ask("10 03")
    assert rig.ask("85 02") == "C5 02"
    rig.fault("voltage", volts=8)
    rig.fault("voltage", volts=12)
    assert rig.ask("85 01") == "C5 01"
    assert rig.ask("19 02 08") == "59 02 2F"


def test_while_dtc_setting_is_off_a_supply_that_stays_low_is_stored_with_85_01(rig: Rig) -> None:
    rig.ask("10 03")
    assert rig.ask("85 02") == "C5 02"
    rig.fault("voltage", volts=8)
    assert rig.ask("19 02 08") == "59 02 2F"
    assert rig.ask("85 01") == "C5 01"
    assert rig.ask("19 02 08") == "59 02 2F 05 62 00 2F"
