"""What is booted: verification on every boot, trials, fallback, rescue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otabench.ecu_firmware_sim.boot.bootloader import BootNote
from otabench.ecu_firmware_sim.errors import ConfigError
from otabench.ecu_firmware_sim.factory import factory_memory
from tests.ecu_firmware_sim.factory import SERIAL, SMALL, VIN, Bench, ImageMaker, Keys


def confirm(ecu: Bench) -> None:
    ecu.unlock("10 03")
    ecu.must("31 01 02 11")


def test_a_new_ecu_boots_its_factory_image_confirmed(ecu: Bench) -> None:
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED EMPTY"
    assert ecu.boot_control.current.minimum_security_counter == 1


def test_a_boot_of_a_confirmed_image_writes_nothing(ecu: Bench) -> None:
    before = ecu.flash.operations
    ecu.boot()
    assert ecu.flash.operations == before


def test_a_factory_image_that_may_not_run_is_refused_before_the_first_start(keys: Keys, make_image: ImageMaker) -> None:
    policy = Bench(keys, make_image("1.0.0", counter=1)).policy
    stranger = make_image("1.0.0", counter=1, key="stranger")
    with pytest.raises(ConfigError, match="factory_image"):
        factory_memory(stranger, layout=SMALL, policy=policy, vin=VIN, serial=SERIAL)


def test_a_trial_has_so_many_boots_and_then_is_invalid(ecu: Bench, new_image: bytes) -> None:
    assert ecu.trial(new_image).slot == 1
    assert [ecu.boot().slot for _ in range(2)] == [1, 1]
    outcome = ecu.boot()
    assert (outcome.slot, outcome.rolled_back_from) == (0, 1)
    assert ecu.states == "CONFIRMED INVALID"


def test_a_trial_whose_time_is_over_ends_at_the_next_boot(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    ecu.firmware.end_trial()
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED INVALID"


def test_a_trial_image_that_rots_is_not_booted(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    ecu.flash.flip_bit(ecu.layout.slot_offset(1) + 0x300)
    outcome = ecu.boot()
    assert (outcome.slot, outcome.rolled_back_from, outcome.notes[0][0]) == (0, 1, BootNote.VERIFICATION_FAILED)


def test_the_security_counter_rises_on_confirm_only(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    assert ecu.boot_control.current.minimum_security_counter == 1
    confirm(ecu)
    assert ecu.boot_control.current.minimum_security_counter == 2


def test_a_rotten_confirmed_image_falls_back_to_the_other_confirmed_one(ecu: Bench, make_image: ImageMaker) -> None:
    ecu.trial(make_image("1.0.1", counter=1))
    confirm(ecu)
    ecu.flash.flip_bit(ecu.layout.slot_offset(1) + 0x300)
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED INVALID"
    assert ecu.boot().notes == ()


def test_anti_rollback_holds_even_if_the_confirmed_image_rots(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    confirm(ecu)
    ecu.flash.flip_bit(ecu.layout.slot_offset(1) + 0x300)
    assert ecu.boot().slot is None


def test_an_ecu_without_a_valid_slot_is_rescued_by_flashing(ecu: Bench, new_image: bytes) -> None:
    ecu.flash.flip_bit(ecu.layout.slot_offset(0) + 0x300)
    assert ecu.boot().slot is None
    assert ecu.states == "INVALID EMPTY"
    assert ecu.stage(new_image) == 0
    ecu.must("31 01 02 10")
    assert ecu.boot().slot == 1
    confirm(ecu)
    assert ecu.states == "INVALID CONFIRMED"


def test_lost_boot_control_is_rebuilt_from_what_the_slots_hold(ecu: Bench) -> None:
    for offset in ecu.layout.boot_control_offsets:
        ecu.flash.flip_bit(offset + 17)
    outcome = ecu.boot()
    assert outcome.slot == 0 and outcome.notes[0][0] is BootNote.BOOT_CONTROL_LOST
    assert ecu.states == "CONFIRMED INVALID"


def lose_boot_control(ecu: Bench) -> None:
    for offset in ecu.layout.boot_control_offsets:
        ecu.flash.flip_bit(offset + 17)


def test_lost_boot_control_makes_no_confirmed_image_of_one_that_was_only_staged(ecu: Bench, new_image: bytes) -> None:
    assert ecu.stage(new_image) == 0
    lose_boot_control(ecu)
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED INVALID"
    assert ecu.boot_control.current.minimum_security_counter == 1


def test_lost_boot_control_with_two_images_of_one_counter_boots_the_lower_version(
    ecu: Bench, make_image: ImageMaker
) -> None:
    assert ecu.stage(make_image("1.0.1", counter=1)) == 0
    lose_boot_control(ecu)
    assert ecu.boot().slot == 0
    ecu = Bench(ecu.keys, make_image("1.0.1", counter=1))
    ecu.boot()
    assert ecu.stage(make_image("1.0.0", counter=1)) == 0
    lose_boot_control(ecu)
    assert ecu.boot().slot == 1


def test_bit_rot_anywhere_in_the_image_is_seen(new_ecu: Callable[..., Bench], old_image: bytes) -> None:
    ecu = new_ecu()
    memory = bytes(ecu.flash.memory)
    for offset in range(0, len(old_image), 97):
        ecu.flash.memory[:] = memory
        ecu.flash.flip_bit(ecu.layout.slot_offset(0) + offset, offset % 8)
        outcome = ecu.boot()
        # only the unprotected key hash is not covered: MCUboot uses it to choose among keys, there is one here
        assert outcome.slot is None or _in_key_hash(old_image, offset), f"offset 0x{offset:X}"


def _in_key_hash(image: bytes, offset: int) -> bool:
    start = image.rfind(b"\x01\x00\x20\x00")
    return start <= offset < start + 36
