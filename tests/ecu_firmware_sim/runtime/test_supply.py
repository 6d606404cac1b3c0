"""A supply that goes out of range while a pending operation writes flash: its trouble code waits for the end of the operation."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.ecu_firmware_sim.uds.dtc import Dtc
from otabench.proto.process_config import EcuTiming
from tests.ecu_firmware_sim.factory import Keys
from tests.ecu_firmware_sim.line import SLOT_BYTES, Line, Rig, erase_request
from tests.waiting import eventually

TIMING = EcuTiming(p2_server_max_s=0.05, p2_star_server_max_s=0.5, boot_s=0.0, erase_sector_s=0.1)


@pytest.fixture
def rig(tmp_path: Path, keys: Keys, old_image: bytes) -> Iterator[Rig]:
    rig = Rig(Line("user", "normal", False), tmp_path, keys, old_image, timing=TIMING)
    yield rig
    rig.close()


def test_only_one_thread_writes_flash_at_a_time(rig: Rig) -> None:
    # given: an erase of several sectors is pending, and each flash operation leaves the name of its thread
    rig.unlock()
    writers: list[str] = []
    rig.ecu.flash.on_operation = lambda _operation: writers.append(threading.current_thread().name)
    rig.send(erase_request(SLOT_BYTES))
    assert rig.receive() == b"\x7f\x31\x78"

    # when: the supply goes out of range
    rig.fault("voltage", volts=7)

    # then: the trouble code is stored, after the last operation of the erase
    assert rig.final() == b"\x71\x01\xff\x00\x00"
    eventually(lambda: f"{Dtc.SUPPLY_LOW:06X}" in rig.ask("19 02 08").replace(" ", ""), "P0562 is stored")
    assert [name for name, _ in itertools.groupby(writers)] == ["pending operation", f"ecu {rig.line}"]
