"""Service 31: check memory against every kind of wrong image or manifest, activate, confirm, revert, dependencies."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from otabench.ecu_firmware_sim.uds.dtc import Dtc
from tests.ecu_firmware_sim.factory import SERIAL, VIN, Bench, ImageMaker, Manifest, code


def check_status(ecu: Bench, image: bytes, *, manifest: Manifest | None = None) -> int:
    status = ecu.stage(image, manifest=manifest)
    expected = "CONFIRMED STAGED" if status == 0 else "CONFIRMED INVALID"
    assert ecu.states == expected
    return status


def test_an_unknown_routine_is_31(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.ask("31 01 12 34") == "7F 31 31"


def test_a_routine_of_the_programming_session_is_31_in_extended(ecu: Bench) -> None:
    ecu.must("10 03")
    assert ecu.ask("31 01 02 02") == "7F 31 31"


@pytest.mark.parametrize("routine", ["02 02", "02 10", "02 11", "02 12"])
def test_a_protected_routine_while_locked_is_33(ecu: Bench, routine: str) -> None:
    ecu.must("10 02")
    assert ecu.ask(f"31 01 {routine}") == "7F 31 33"


def test_check_memory_00_makes_the_slot_staged(ecu: Bench, new_image: bytes) -> None:
    assert check_status(ecu, new_image) == 0
    assert ecu.nvm.current.manifest_version == 1


def test_check_memory_01_no_image(ecu: Bench) -> None:
    ecu.unlock()
    ecu.erase()
    assert ecu.ask("31 01 02 02") == "71 01 02 02 01"
    assert ecu.states == "CONFIRMED EMPTY"


def test_check_memory_01_cut_short(ecu: Bench, new_image: bytes) -> None:
    assert check_status(ecu, new_image[:-40], manifest=Manifest(new_image)) == 1


def test_check_memory_02_one_bit_flipped(ecu: Bench, new_image: bytes) -> None:
    flipped = bytearray(new_image)
    flipped[0x400] ^= 1
    assert check_status(ecu, bytes(flipped), manifest=Manifest(new_image)) == 2


def test_check_memory_02_another_image_of_this_ecu(ecu: Bench, make_image: ImageMaker, new_image: bytes) -> None:
    assert check_status(ecu, make_image("3.0.0", counter=3), manifest=Manifest(new_image)) == 2


def test_check_memory_03_class_id_of_another_ecu(ecu: Bench, make_image: ImageMaker) -> None:
    assert check_status(ecu, make_image("2.0.0", counter=2, hardware_id="adas-soc-b")) == 3


def test_check_memory_03_manifest_for_another_hardware(ecu: Bench, new_image: bytes) -> None:
    assert check_status(ecu, new_image, manifest=Manifest(new_image, hardware_id="adas-soc-b")) == 3


def test_check_memory_04_signed_by_a_stranger_though_the_director_names_it(ecu: Bench, make_image: ImageMaker) -> None:
    assert check_status(ecu, make_image("2.0.0", counter=2, key="stranger")) == 4


def test_check_memory_05_security_counter_below_the_confirmed_one(ecu: Bench, make_image: ImageMaker) -> None:
    assert check_status(ecu, make_image("2.0.0", counter=0)) == 5


@pytest.mark.parametrize(("vin", "serial"), [("W0TABENCH00000002", SERIAL), (VIN, "ENG-9999")])
def test_check_memory_06_manifest_for_another_vehicle_or_ecu(
    ecu: Bench, new_image: bytes, vin: str, serial: str
) -> None:
    assert check_status(ecu, new_image, manifest=Manifest(new_image, vin=vin, serial=serial)) == 6


def test_check_memory_02_or_06_one_of_several_hashes_is_wrong(ecu: Bench, new_image: bytes) -> None:
    right = {"sha512": hashlib.sha512(new_image).hexdigest()}
    for hashes, status in (({"sha512": "0" * 128}, 2), ({"sha1": "0" * 40}, 6), (right, 0)):
        assert check_status(ecu, new_image, manifest=Manifest(new_image, other_hashes=hashes)) == status


@pytest.mark.parametrize("facts", [{"image_version": "9.9.9"}, {"release_counter": 9}, {"image_version": "none"}])
def test_check_memory_06_manifest_that_says_more_than_the_image(
    ecu: Bench, new_image: bytes, facts: dict[str, Any]
) -> None:
    assert check_status(ecu, new_image, manifest=Manifest(new_image, **facts)) == 6
    assert check_status(ecu, new_image) == 0


@pytest.mark.parametrize("damage", ["other key", "changed", "none", "nonsense", "root"])
def test_check_memory_06_manifest_that_is_not_the_directors(ecu: Bench, new_image: bytes, damage: str) -> None:
    good = Manifest(new_image).signed(ecu.keys.targets)
    manifest = {
        "other key": Manifest(new_image).signed(ecu.keys.other_targets),
        "changed": good.replace(b"job-1", b"job-2"),
        "none": b"",
        "nonsense": b"{" * 900,
        "root": ecu.keys.root_metadata().to_bytes(),
    }[damage]
    ecu.unlock()
    if manifest:
        ecu.download_metadata(manifest)
    ecu.erase()
    ecu.download_image(new_image)
    assert ecu.ask("31 01 02 02") == "71 01 02 02 06"
    assert ecu.states == "CONFIRMED INVALID"


def test_check_memory_07_manifest_older_than_an_accepted_one(
    ecu: Bench, make_image: ImageMaker, new_image: bytes
) -> None:
    assert check_status(ecu, new_image, manifest=Manifest(new_image, version=5)) == 0
    assert check_status(ecu, make_image("3.0.0", counter=3), manifest=Manifest(new_image, version=4)) == 7
    assert check_status(ecu, new_image, manifest=Manifest(new_image, version=5)) == 0


def test_a_refused_image_sets_a_dtc_with_the_reason(ecu: Bench, make_image: ImageMaker) -> None:
    check_status(ecu, make_image("2.0.0", counter=2, key="stranger"))
    assert ecu.ask("19 02 08") == "59 02 2F 06 02 00 2F"
    assert "signature" in ecu.nvm.current.dtcs[0].text


def test_check_memory_during_a_transfer_is_22(ecu: Bench) -> None:
    ecu.unlock()
    ecu.erase()
    ecu.request_download(100)
    assert ecu.ask("31 01 02 02") == "7F 31 22"


def test_activate_needs_a_staged_slot(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.ask("31 01 02 10") == "7F 31 22"


def test_activate_takes_effect_at_the_next_reset(ecu: Bench, new_image: bytes) -> None:
    ecu.stage(new_image)
    assert ecu.ask("31 01 FF 01") == "71 01 FF 01 00"
    assert ecu.ask("31 01 02 10") == "71 01 02 10 00"
    assert ecu.states == "CONFIRMED TRIAL"
    assert ecu.must("22 F1 A1")[3:5] == b"\x00\x03"
    assert ecu.boot().slot == 1
    assert ecu.must("22 F1 A1")[3:5] == b"\x01\x02"


def test_confirm_confirms_the_running_trial_and_raises_the_minimum_counter(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    assert ecu.boot_control.current.minimum_security_counter == 1
    ecu.unlock("10 03")
    assert ecu.ask("31 01 02 03") == "71 01 02 03 01 04"
    assert ecu.ask("31 01 02 11") == "71 01 02 11 00"
    assert ecu.ask("31 01 02 03") == "71 01 02 03 00"
    assert ecu.states == "CONFIRMED CONFIRMED"
    assert ecu.boot_control.current.minimum_security_counter == 2
    assert ecu.boot().slot == 1


def test_a_stranger_on_the_bus_confirms_no_trial(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    assert ecu.send("10 03", functional=True) == bytes.fromhex("50 03 00 32 01 F4")
    assert ecu.send("31 01 02 11", functional=True) == b"\x7f\x31\x33"
    assert ecu.states == "CONFIRMED TRIAL"
    assert ecu.boot_control.current.minimum_security_counter == 1


def test_confirm_without_a_running_trial_is_22(ecu: Bench) -> None:
    ecu.unlock("10 03")
    assert ecu.ask("31 01 02 11") == "7F 31 22"


def test_revert_of_a_running_trial_goes_back_at_the_next_reset(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    ecu.unlock()
    assert ecu.ask("31 01 02 12") == "71 01 02 12 00"
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED INVALID"
    assert ecu.ask("19 02 08") == "59 02 2F 16 02 00 2C"
    assert ecu.nvm.current.dtcs[0].text == "slot 1 was left by the tester (31 01 0212)"
    assert ecu.nvm.current.dtcs[0].job_id == "job-1"


def test_revert_of_a_rescued_ecus_trial_returns_to_the_bootloader(ecu: Bench, new_image: bytes) -> None:
    """It had nothing else before: as if the watchdog had ended the trial."""
    ecu.flash.flip_bit(ecu.layout.slot_offset(0) + 0x300)
    ecu.boot()
    assert ecu.trial(new_image).slot == 1
    ecu.unlock()
    assert ecu.ask("31 01 02 12") == "71 01 02 12 00"
    assert ecu.boot().slot is None
    assert ecu.states == "INVALID INVALID"
    assert ecu.stage(new_image) == 0


def test_revert_before_the_reset_cancels_the_activation(ecu: Bench, new_image: bytes) -> None:
    ecu.stage(new_image)
    ecu.must("31 01 02 10")
    ecu.must("31 01 02 12")
    assert ecu.states == "CONFIRMED STAGED"
    assert ecu.boot().slot == 0
    assert ecu.ask("19 02 08") == "59 02 2F", "nothing of it ran"


def test_revert_between_confirmed_slots_of_one_counter(ecu: Bench, make_image: ImageMaker) -> None:
    ecu.trial(make_image("1.0.1", counter=1))
    ecu.unlock()
    ecu.must("31 01 02 11")
    ecu.must("31 01 02 12")
    ecu.must("31 01 02 12")  # repeated, as by a gateway that was restarted
    assert ecu.boot().slot == 0
    assert ecu.states == "CONFIRMED CONFIRMED"
    assert [(dtc.code, dtc.count) for dtc in ecu.nvm.current.dtcs] == [(Dtc.ROLLED_BACK, 1)]


def test_revert_to_an_image_below_the_minimum_counter_is_22(ecu: Bench, new_image: bytes) -> None:
    ecu.trial(new_image)
    ecu.unlock()
    ecu.must("31 01 02 11")
    assert ecu.ask("31 01 02 12") == "7F 31 22"


def test_revert_without_another_confirmed_slot_is_22(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.ask("31 01 02 12") == "7F 31 22"


@pytest.mark.parametrize(("dependency", "status"), [("(0,1.0.0)", "00"), ("(0,1.5.0)", "01"), ("(1,1.0.0)", "01")])
def test_dependencies_the_image_names_are_checked(
    ecu: Bench, make_image: ImageMaker, dependency: str, status: str
) -> None:
    ecu.stage(make_image("2.0.0", counter=2, body=code("2.0.0"), dependency=dependency))
    assert ecu.ask("31 01 FF 01") == f"71 01 FF 01 {status}"


def test_dependencies_without_a_staged_slot_are_not_met(ecu: Bench) -> None:
    ecu.must("10 02")
    assert ecu.ask("31 01 FF 01") == "71 01 FF 01 01"
