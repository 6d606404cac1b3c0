"""Power is cut at every flash operation of a whole update, in every way a write can break.

After each cut: the ECU boots a valid image that is the old or the new one, and the update then succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

import bsdiff4
import pytest
from nacl.public import PrivateKey

from ecu_firmware_sim.errors import PowerLost
from ecu_firmware_sim.flash import Cut
from ecu_firmware_sim.slots import SlotState
from tests.ecu.factory import Bench, Keys, Manifest
from tests.ecu.sealing import seal

KEY = PrivateKey(bytes(range(32)))


def update(ecu: Bench, image: bytes, patch: bytes | None) -> None:
    """A whole update as a tester does it, from whatever state the ECU is in."""
    running = ecu.must("22 F1 89")[3:].decode()
    if running != "2.0.0":
        _stage(ecu, image, patch)
        ecu.must("31 01 02 10")
        ecu.must("11 01")
        ecu.boot()
    if ecu.firmware.on_trial:
        ecu.must("10 03")
        ecu.must("31 01 02 11")
    assert ecu.must("22 F1 89")[3:] == b"2.0.0"
    assert ecu.boot_control.current.states[ecu.firmware.active] is SlotState.CONFIRMED


def _stage(ecu: Bench, image: bytes, patch: bytes | None) -> None:
    if patch is None and ecu.decryption_key is None:
        assert ecu.stage(image) == 0
        return
    data_format = (0x00 if patch is None else 0x10) | (0x00 if ecu.decryption_key is None else 0x01)
    plain = image if patch is None else patch
    ecu.unlock()
    ecu.download_metadata(Manifest(image).signed(ecu.keys.targets))
    ecu.erase()
    assert ecu.request_download(len(image), data_format=data_format)[0] == 0x74
    ecu.transfer(plain if ecu.decryption_key is None else seal(plain, ecu.decryption_key.public_key).data)
    ecu.must("37")
    assert ecu.must("31 01 02 02")[4] == 0


def cut_at(ecu: Bench, operation: int, cut: Cut, act: Callable[[], object]) -> bool:
    """Whether power was cut in ``act`` before it ended."""
    first = ecu.flash.operations
    ecu.flash.on_operation = lambda step: cut if step.number == first + operation else None
    try:
        act()
    except PowerLost:
        return True
    finally:
        ecu.flash.on_operation = None
    return False


def prove_alive(ecu: Bench) -> None:
    outcome = ecu.boot()
    assert outcome.slot is not None, "bricked: the ECU stays in its bootloader"
    assert str(outcome.image.version) in ("1.0.0", "2.0.0") if outcome.image else False


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize("kind", ["full", "delta", "encrypted", "encrypted delta"])
def test_a_cut_at_every_operation_of_an_update_bricks_nothing(
    keys: Keys, old_image: bytes, new_image: bytes, kind: str, cut: Cut
) -> None:
    patch = bsdiff4.diff(old_image, new_image) if kind.endswith("delta") else None
    key = KEY if kind.startswith("encrypted") else None
    start = bytes(Bench(keys, old_image).flash.memory)
    points = 0
    while True:
        ecu = Bench(keys, old_image, memory=bytearray(start), decryption_key=key)
        ecu.boot()
        if not cut_at(ecu, points + 1, cut, lambda: update(ecu, new_image, patch)):  # noqa: B023
            break
        points += 1
        prove_alive(ecu)
        update(ecu, new_image, patch)
    assert points >= 70, f"only {points} cut points: the update does less than it should"


@pytest.mark.parametrize("cut", [Cut.TORN, Cut.GARBAGE])
def test_a_second_cut_at_every_operation_of_the_recovery_bricks_nothing(
    keys: Keys, old_image: bytes, new_image: bytes, cut: Cut
) -> None:
    """First cuts at the operations that change boot control; second cuts until the recovering boot does no more."""
    start = bytes(Bench(keys, old_image).flash.memory)
    first, seconds = 0, 0
    while True:
        first += 1
        ecu = Bench(keys, old_image, memory=bytearray(start))
        ecu.boot()
        if not cut_at(ecu, first, cut, lambda: update(ecu, new_image, None)):  # noqa: B023
            break
        after_first = bytes(ecu.flash.memory)
        second = 1
        while True:
            ecu = Bench(keys, old_image, memory=bytearray(after_first))
            if not cut_at(ecu, second, cut, ecu.boot):
                break
            prove_alive(ecu)
            second += 1
            seconds += 1
    assert seconds > 10


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_at_every_operation_of_a_rollback_bricks_nothing(
    keys: Keys, old_image: bytes, new_image: bytes, cut: Cut
) -> None:
    ready = Bench(keys, old_image)
    ready.boot()
    ready.trial(new_image)
    ready.firmware.end_trial()
    start = bytes(ready.flash.memory)
    points = 0
    while True:
        ecu = Bench(keys, old_image, memory=bytearray(start))
        if not cut_at(ecu, points + 1, cut, ecu.boot):
            break
        points += 1
        outcome = ecu.boot()
        assert outcome.slot == 0 and ecu.states == "CONFIRMED INVALID"
    assert points >= 4


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_at_every_operation_of_confirm_leaves_trial_or_confirmed_with_its_counter(
    keys: Keys, old_image: bytes, new_image: bytes, cut: Cut
) -> None:
    ready = Bench(keys, old_image)
    ready.boot()
    ready.trial(new_image)
    start = bytes(ready.flash.memory)
    points = 0
    while True:
        ecu = Bench(keys, old_image, memory=bytearray(start))
        ecu.boot()
        if not cut_at(ecu, points + 1, cut, ecu.firmware.confirm):
            break
        points += 1
        ecu.boot()
        control = ecu.boot_control.current
        assert (control.states[1], control.minimum_security_counter) in ((SlotState.TRIAL, 1), (SlotState.CONFIRMED, 2))
    assert points == 4
