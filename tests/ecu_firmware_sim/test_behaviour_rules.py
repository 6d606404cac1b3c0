"""Every rule of the UDS server on the lines: the rules' own tests, which else run in memory, over both transports.

Quick ones on all lines; those that write flash on two lines of each transport, those that transfer images on one.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from otabench.proto.process_config import EcuTiming
from tests.ecu_firmware_sim.factory import ImageMaker, Keys, code
from tests.ecu_firmware_sim.line import ON_ONE_LINE_A_TRANSPORT, ON_TWO_LINES_A_TRANSPORT, Rig, erase_request
from tests.ecu_firmware_sim.on_the_line import OnTheLine
from tests.ecu_firmware_sim.programming import test_encryption as encryption
from tests.ecu_firmware_sim.uds import test_data as data
from tests.ecu_firmware_sim.uds import test_nrcs as nrcs
from tests.ecu_firmware_sim.uds import test_routines as routines
from tests.ecu_firmware_sim.uds import test_rules as rules
from tests.ecu_firmware_sim.uds import test_security as security
from tests.ecu_firmware_sim.uds import test_sessions as sessions
from tests.ecu_firmware_sim.uds import test_transfer as transfer

UNHURRIED = EcuTiming(boot_s=0.0, security_delay_s=1.0)
"""Times of the standard: no rule here ends by S3, however slow the machine."""


@pytest.fixture(scope="module")
def line_timing() -> EcuTiming:
    return UNHURRIED


class SmallImages(ImageMaker):
    """Images that cross a slow line quickly."""

    def __call__(self, version: str, *, body: bytes | None = None, **facts: Any) -> bytes:
        return super().__call__(version, body=code(version, 2000) if body is None else body, **facts)


@pytest.fixture(scope="session")
def make_image(keys: Keys) -> ImageMaker:
    return SmallImages(keys)


@pytest.fixture(scope="session")
def old_image(make_image: ImageMaker) -> bytes:
    return make_image("1.0.0", counter=1)


@pytest.fixture(scope="session")
def new_image(make_image: ImageMaker) -> bytes:
    return make_image("2.0.0", counter=2)


def rule(test: Callable[..., None], **values: Any) -> ParameterSet:
    """Return one rule's test; ``values`` stand for its parameters."""
    name = test.__name__.removeprefix("test_")
    return pytest.param(test, values, id="-".join([name, *(str(value) for value in values.values())]))


QUICK = [
    rule(nrcs.test_14_response_too_long),
    rule(nrcs.test_33_security_access_denied),
    rule(rules.test_a_service_of_another_session_is_7f, request_="31 01 02 03"),
    rule(rules.test_length_is_judged_before_sub_function),
    rule(rules.test_a_wrong_length_is_13, request_="22 F1 89 F1"),
    rule(rules.test_the_suppress_bit_silences_positive_responses_only),
    rule(rules.test_a_functional_request_is_answered_otherwise),
    rule(rules.test_a_functional_request_is_not_answered_with_11_12_31_7e_7f, request_="31 01 02 03", nrc=0x7F),
    rule(security.test_a_key_without_seed_is_24),
    rule(security.test_a_seed_ends_with_its_session, end="10 03"),
    rule(security.test_seeds_do_not_repeat),
    rule(sessions.test_communication_control_stays_between_the_other_sessions),
    rule(
        sessions.test_28_acts_on_the_messages_of_its_communication_type_only,
        requests="28 03 03, 28 00 01",
        now=(False, True),
    ),
    rule(sessions.test_28_with_an_unknown_communication_type_or_another_subnet_is_31_and_changes_nothing, kind="E1"),
    rule(data.test_22_answers_several_identifiers_and_leaves_out_unknown_ones),
    rule(data.test_22_with_only_unknown_identifiers_is_31),
    rule(data.test_19_06_of_an_unknown_code_or_record_is_31, request_="19 06 12 34 56 FF"),
    rule(routines.test_a_routine_of_the_programming_session_is_31_in_extended),
    rule(routines.test_a_protected_routine_while_locked_is_33, routine="02 11"),
]
"""Nothing is written: the ECU need not be made new."""

THAT_WRITE = [
    rule(nrcs.test_22_conditions_not_correct_where_nothing_waits_to_be_confirmed),
    rule(nrcs.test_70_upload_download_not_accepted_where_there_is_no_image_to_patch),
    rule(nrcs.test_71_transfer_data_suspended),
    rule(nrcs.test_72_general_programming_failure),
    rule(nrcs.test_73_wrong_block_sequence_counter),
    rule(rules.test_session_is_judged_before_security_and_security_before_length),
    rule(rules.test_a_wrong_length_is_13_in_the_programming_session, request_="31 01 02 02 00"),
    rule(rules.test_an_unknown_sub_function_is_12, request_="31 02 02 02"),
    rule(security.test_a_seed_serves_one_attempt),
    rule(security.test_a_seed_ends_with_its_session, end="reset"),
    rule(security.test_an_unlocked_ecu_gives_a_seed_of_zeros),
    rule(sessions.test_a_change_of_session_locks_and_ends_a_transfer, session="10 02"),
    rule(sessions.test_a_change_of_session_locks_and_ends_a_transfer, session="10 03"),
    rule(sessions.test_while_dtc_setting_is_off_none_is_stored),
    rule(data.test_22_of_all_identifiers_is_split_as_the_contract_says),
    rule(data.test_2e_fingerprint_is_kept),
    rule(data.test_2e_fingerprint_of_another_form_is_refused, record="2A 11 23 41", nrc="31"),
    rule(data.test_2e_of_what_cannot_be_written_is_31),
    rule(data.test_19_02_gives_codes_by_status_mask_and_they_stay),
    rule(data.test_19_0a_gives_all_supported_codes),
    rule(data.test_14_clears_all_one_or_is_31),
    rule(transfer.test_34_outside_the_windows_is_31, address=0, size=16),
    rule(transfer.test_34_with_an_unknown_data_format_is_31, data_format=0x20),
    rule(transfer.test_34_on_a_slot_that_is_not_erased_is_22),
    rule(transfer.test_34_during_a_transfer_is_22_and_the_transfer_goes_on),
    rule(transfer.test_36_and_37_without_a_download_are_24),
    rule(transfer.test_36_that_repeats_the_last_counter_is_positive_and_not_written_again),
    rule(transfer.test_36_with_a_wrong_counter_is_73_and_the_transfer_goes_on, counter="02"),
    rule(transfer.test_36_with_more_than_announced_is_71_and_ends_the_transfer),
    rule(transfer.test_37_before_all_bytes_came_is_24_and_the_transfer_goes_on),
    rule(transfer.test_a_flash_error_is_72_sets_a_dtc_and_ends_the_transfer),
    rule(
        transfer.test_a_refused_erase_leaves_the_transfer_as_it_is,
        option="44 00 00 00 00 00 00 10 00",
        supply_v=13.5,
        nrc="31",
    ),
    rule(transfer.test_an_erase_ends_the_transfer),
    rule(routines.test_an_unknown_routine_is_31),
    rule(routines.test_check_memory_01_no_image),
    rule(routines.test_activate_needs_a_staged_slot),
    rule(routines.test_revert_without_another_confirmed_slot_is_22),
    rule(encryption.test_metadata_is_never_encrypted),
]

WITH_AN_IMAGE = [
    rule(transfer.test_the_slot_is_invalid_from_34_until_check_memory),
    rule(transfer.test_a_patch_for_another_base_is_70_before_its_first_byte),
    rule(transfer.test_a_patch_that_was_damaged_on_its_way_is_72_to_37),
    rule(routines.test_check_memory_02_one_bit_flipped),
    rule(routines.test_check_memory_04_signed_by_a_stranger_though_the_director_names_it),
    rule(routines.test_check_memory_05_security_counter_below_the_confirmed_one),
    rule(routines.test_confirm_confirms_the_running_trial_and_raises_the_minimum_counter),
    rule(routines.test_a_stranger_on_the_bus_confirms_no_trial),
    rule(routines.test_revert_of_a_running_trial_goes_back_at_the_next_reset),
    rule(routines.test_revert_before_the_reset_cancels_the_activation),
    rule(routines.test_revert_to_an_image_below_the_minimum_counter_is_22),
    rule(encryption.test_an_encrypted_patch_is_rebuilt_and_boots),
    rule(encryption.test_a_patch_that_decrypts_and_is_none_is_refused_as_a_patch),
    rule(
        encryption.test_an_artifact_that_is_not_right_is_refused_and_the_slot_is_invalid,
        attack="sealed for another ECU",
    ),
    rule(encryption.test_an_artifact_that_is_not_right_is_refused_and_the_slot_is_invalid, attack="a missing chunk"),
    rule(encryption.test_a_power_cut_in_the_middle_leaves_the_slot_invalid_and_nothing_remembered),
]


@pytest.fixture
def keep(rig: Rig, request: pytest.FixtureRequest) -> Callable[[Callable[..., None], dict[str, Any]], None]:
    """Holds a rule's test against the ECU of the line."""

    def keep(test: Callable[..., None], values: dict[str, Any]) -> None:
        ecu = OnTheLine(rig)
        wanted = list(inspect.signature(test).parameters)
        if "ready" in wanted:
            ecu.unlock()
            ecu.erase()
        own: dict[str, Any] = {"ecu": ecu, "ready": ecu, **values}
        test(**{name: own[name] if name in own else request.getfixturevalue(name) for name in wanted})

    return keep


@pytest.mark.parametrize(("test", "values"), QUICK)
def test_rule(
    keep: Callable[[Callable[..., None], dict[str, Any]], None], test: Callable[..., None], values: dict[str, Any]
) -> None:
    keep(test, values)


@ON_TWO_LINES_A_TRANSPORT
@pytest.mark.parametrize(("test", "values"), THAT_WRITE)
def test_rule_that_writes(
    keep: Callable[[Callable[..., None], dict[str, Any]], None], test: Callable[..., None], values: dict[str, Any]
) -> None:
    keep(test, values)


@ON_ONE_LINE_A_TRANSPORT
@pytest.mark.parametrize(("test", "values"), WITH_AN_IMAGE)
def test_rule_with_an_image(
    keep: Callable[[Callable[..., None], dict[str, Any]], None], test: Callable[..., None], values: dict[str, Any]
) -> None:
    keep(test, values)


# -- what only a line shows


@ON_TWO_LINES_A_TRANSPORT
def test_attempts_and_their_delay_are_kept_over_power_cycles(rig: Rig) -> None:
    ecu = OnTheLine(rig)
    answers = []
    for _ in range(3):
        ecu.boot()
        ecu.must("10 02")
        ecu.must("27 01")
        answers.append(ecu.ask(security.WRONG_KEY))
    assert answers == ["7F 27 35", "7F 27 35", "7F 27 36"]
    ecu.boot()
    booted_s = time.monotonic()
    ecu.must("10 02")
    assert ecu.ask("27 01") == "7F 27 37"
    time.sleep(max(0.0, booted_s + UNHURRIED.security_delay_s - time.monotonic()))
    ecu.unlock()


def test_a_reset_is_answered_first_and_ends_session_and_security(rig: Rig) -> None:
    ecu = OnTheLine(rig)
    ecu.unlock()
    assert ecu.ask("11 01") == "51 01"
    ecu.rig.await_application()
    assert ecu.ask("22 F1 86") == "62 F1 86 01"
    ecu.must("10 02")
    assert ecu.ask("37") == "7F 37 33"


@pytest.fixture
def two(rig: Rig, tmp_path: Path, keys: Keys, old_image: bytes) -> Iterator[tuple[Rig, Rig]]:
    """The ECU of the line, and another one beside it."""
    other = Rig(replace(rig.line, number=1), tmp_path, keys, old_image, timing=UNHURRIED)
    yield rig, other
    other.close()


@ON_TWO_LINES_A_TRANSPORT
def test_a_functional_request_is_answered_by_both_ecus_of_the_bus_or_by_none(two: tuple[Rig, Rig]) -> None:
    first, second = two
    for request, answer in (("10 03", "50 03 00 32 01 F4"), ("3E 00", "7E 00"), ("22", "7F 22 13")):
        first.broadcast(request)
        assert [rig.final().hex(" ").upper() for rig in two] == [answer, answer]
    for request in ("BA 00", "10 55", "22 F1 FF", "3E 80"):
        first.broadcast(request)
        assert first.hears_nothing() and second.hears_nothing()


@ON_TWO_LINES_A_TRANSPORT
def test_an_ecu_that_is_busy_answers_21_where_the_other_one_does_what_it_is_asked(two: tuple[Rig, Rig]) -> None:
    first, second = two
    first.unlock()
    first.fault("slow-flash", factor=200)
    first.send(erase_request(0x2000))
    assert first.receive() == b"\x7f\x31\x78"
    first.broadcast("10 03")
    assert first.receive() == b"\x7f\x10\x21"
    assert second.final()[:2] == b"\x50\x03"
    assert first.final() == b"\x71\x01\xff\x00\x00"
    assert first.ask("22 F1 86") == "62 F1 86 02"


@ON_TWO_LINES_A_TRANSPORT
def test_tester_present_is_answered_with_21_while_the_ecu_is_busy_and_taken_silently_where_it_asks_so(rig: Rig) -> None:
    rig.unlock()
    rig.fault("slow-flash", factor=200)
    rig.send(erase_request(0x2000))
    assert rig.receive() == b"\x7f\x31\x78"
    rig.send("3E 80")
    rig.broadcast("3E 80")
    rig.send("3E 00")
    assert rig.receive() == b"\x7f\x3e\x21"
    assert rig.final() == b"\x71\x01\xff\x00\x00"
