"""Every shipped profile flashes the bootloader of its name, whatever happens to power and messages on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress

import pytest

from otabench.bench.uds.errors import EcuLost, EcuRefused, FlashError
from otabench.bench.uds.sequence.profile import shipped
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.personalities.memory import BANK_BYTES, new_flash
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.personalities.direct import DirectTester, Disturbance, Killed
from tests.personalities.updates import material, profile_of, program, update

NAMES = sorted(PERSONALITIES)


def test_every_personality_has_a_profile_and_the_other_way_round() -> None:
    assert shipped() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_profile_updates_its_bootloader(name: str) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    assert (tester.ecu.version, tester.ecu.in_bootloader) == ("1.0.0", False)
    update(tester, profile_of(name), material(name, "2.0.0"))
    assert (tester.ecu.version, tester.ecu.in_bootloader) == ("2.0.0", False)
    at = tester.ecu.active_slot * BANK_BYTES
    assert bytes(tester.flash.memory[at : at + len(program("2.0.0"))]) == program("2.0.0")
    update(tester, profile_of(name), material(name, "3.0.0"))
    assert tester.ecu.version == "3.0.0"


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_ecu_in_its_bootloader_is_programmed(name: str) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash())
    assert tester.ecu.in_bootloader
    update(tester, profile_of(name), material(name, "2.0.0"), is_in_bootloader=True)
    assert tester.ecu.version == "2.0.0"


@functools.cache
def whole_update(name: str) -> DirectTester:
    """Return the tester after an update without faults, for its counts."""
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    update(tester, profile_of(name), material(name, "2.0.0"))
    return tester


def require_recovery(tester: DirectTester, name: str) -> None:
    """Check that the ECU runs a complete application or waits in its bootloader, and that the next update succeeds."""
    tester.heal()
    assert tester.ecu.version in ("", "1.0.0", "2.0.0")
    assert tester.ecu.in_bootloader == (not tester.ecu.version)
    update(tester, profile_of(name), material(name, "2.0.0"), is_in_bootloader=tester.ecu.in_bootloader)
    assert tester.ecu.version == "2.0.0"


def require_named_end_or_success(tester: DirectTester, name: str, at: int) -> None:
    """Check that an update disturbed at a request ends by name, or in spite of it on the new version, and that the next one succeeds."""
    try:
        update(tester, profile_of(name), material(name, "2.0.0"))
        tester.heal()
        assert tester.ecu.version == "2.0.0", f"success was reported, request {at}"
    except FlashError as error:
        assert error.ecu == name
        assert error.step
    require_recovery(tester, name)


def sample(total: int, *, exhaustive: bool) -> list[int]:
    """Return which of ``total`` events are hit: the first, the last and some between, or all."""
    return list(range(1, total + 1)) if exhaustive else sorted({1, 2, *range(3, total, 61), total - 1, total})


EXTENT = [False, pytest.param(True, marks=pytest.mark.exhaustive)]


@pytest.mark.parametrize("exhaustive", EXTENT)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", Cut)
def test_a_power_cut_at_a_flash_operation_leaves_an_ecu_that_the_next_try_programs(
    name: str, cut: Cut, exhaustive: bool
) -> None:
    for at in sample(whole_update(name).flash.operations, exhaustive=exhaustive):
        tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), cut=(at, cut))
        with suppress(FlashError):
            update(tester, profile_of(name), material(name, "2.0.0"))
        require_recovery(tester, name)


@pytest.mark.parametrize("exhaustive", EXTENT)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "what", [each for each in Disturbance if "KILLED" not in each.name], ids=lambda each: each.name
)
def test_a_disturbed_message_ends_by_name_or_is_made_up_for_and_the_next_try_succeeds(
    name: str, what: Disturbance, exhaustive: bool
) -> None:
    for at in sample(whole_update(name).requests, exhaustive=exhaustive):
        tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), disturbed=(at, what))
        require_named_end_or_success(tester, name, at)


@pytest.mark.parametrize("exhaustive", EXTENT)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", [Disturbance.KILLED_BEFORE, Disturbance.KILLED_AFTER], ids=lambda each: each.name)
def test_a_tester_that_comes_after_one_that_was_killed_programs_the_ecu(
    name: str, what: Disturbance, exhaustive: bool
) -> None:
    for at in sample(whole_update(name).requests, exhaustive=exhaustive):
        tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), disturbed=(at, what))
        with pytest.raises(Killed):
            update(tester, profile_of(name), material(name, "2.0.0"))
        # The ECU is as it was left: in a session, unlocked, in the middle of a transfer. A new tester may be refused until S3 has passed.
        tester.pause(1.0)
        try:
            update(tester, profile_of(name), material(name, "2.0.0"), is_in_bootloader=tester.ecu.in_bootloader)
        except FlashError:
            tester.ecu.forget_session()
            tester.pause(1.0)
            update(tester, profile_of(name), material(name, "2.0.0"), is_in_bootloader=tester.ecu.in_bootloader)
        assert tester.ecu.version == "2.0.0", f"request {at}"


WRONG_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "cut to its first byte": lambda answer: answer[:1],
    "one byte short": lambda answer: answer[:-1] if len(answer) > 1 else b"",
    "to another sub-function or identifier": lambda answer: answer[:1] + bytes((answer[1] ^ 0x20,)) + answer[2:],
    "to another service": lambda answer: bytes((answer[0] ^ 0x02,)) + answer[1:],
    "sixty bytes longer": lambda answer: answer + bytes(60),
}


@pytest.mark.parametrize("exhaustive", EXTENT)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", WRONG_ANSWERS)
def test_an_answer_of_the_wrong_length_or_to_something_else_ends_by_name_or_does_not_matter(
    name: str, wrong: str, exhaustive: bool
) -> None:
    for at in sample(whole_update(name).requests, exhaustive=exhaustive):
        tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
        tester.change = lambda request, answer, at=at: (  # type: ignore[misc]
            WRONG_ANSWERS[wrong](answer) if request == at and len(answer) > 1 else answer
        )
        require_named_end_or_success(tester, name, at)


def test_a_routine_that_is_in_progress_for_ever_ends_by_name_within_its_limit() -> None:
    tester = DirectTester(PERSONALITIES["records"], new_flash(program("1.0.0")))
    tester.change = lambda _, answer: b"\x71\x01\xff\x00\x01" if answer[:4] == b"\x71\x01\xff\x00" else answer
    with pytest.raises(FlashError, match=r"31 01 FF00.*in progress") as failed:
        update(tester, profile_of("records"), material("records", "2.0.0"))
    assert failed.value.ecu == "records"
    assert 60 <= tester.now_s() < 90, "the profile's limit is 60 s"
    require_recovery(tester, "records")


@pytest.mark.parametrize("name", NAMES)
def test_messages_that_arrive_twice_do_no_harm(name: str) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), is_doubled=True)
    with suppress(FlashError):
        update(tester, profile_of(name), material(name, "2.0.0"))
    require_recovery(tester, name)


@pytest.mark.parametrize(
    ("name", "service"),
    [
        (name, service)
        for name in NAMES
        for service in (0x27, 0x31, 0x34, 0x36)
        if service in PERSONALITIES[name].services
    ],
)
def test_an_ecu_that_answers_78_for_ever_ends_by_name(name: str, service: int) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), pending_for_ever=service)
    with pytest.raises(EcuLost) as lost:
        update(tester, profile_of(name), material(name, "2.0.0"))
    assert lost.value.nrc == 0x78
    require_recovery(tester, name)


@pytest.mark.parametrize("name", NAMES)
def test_an_ecu_that_falls_silent_ends_by_name_and_never_as_a_success(name: str) -> None:
    whole = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    update(whole, profile_of(name), material(name, "2.0.0"))
    for at in sorted({2, whole.requests // 3, whole.requests // 2, whole.requests * 2 // 3}):
        tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")), mute_from=at)
        with pytest.raises(EcuLost) as lost:
            update(tester, profile_of(name), material(name, "2.0.0"))
        assert lost.value.ecu == name
        assert lost.value.step


@pytest.mark.parametrize("name", [name for name in NAMES if PERSONALITIES[name].levels])
def test_a_wrong_key_is_refused_and_nothing_is_erased(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    monkeypatch.setattr(tester, "key_for", lambda seed, level, choice: bytes(len(seed)))
    with pytest.raises(EcuRefused) as refused:
        update(tester, profile_of(name), material(name, "2.0.0"))
    assert refused.value.nrc == 0x35
    assert tester.flash.operations == 0


@pytest.mark.parametrize("name", [name for name in NAMES if name != "minimal"])  # it checks nothing: ISO-TP must do
def test_data_that_were_changed_on_the_way_never_become_valid(name: str) -> None:
    tester = DirectTester(PERSONALITIES[name], new_flash(program("1.0.0")))
    honest = tester.ecu.handle

    def corrupt(request: bytes) -> object:
        is_data = request[:1] == b"\x36" and len(request) > 100 and request[1] == 3
        return honest(request[:50] + bytes((request[50] ^ 1,)) + request[51:] if is_data else request)

    tester.ecu.handle = corrupt  # type: ignore[method-assign,assignment]
    with pytest.raises(FlashError):
        update(tester, profile_of(name), material(name, "2.0.0"))
    tester.pause(5.0)
    assert tester.ecu.version != "2.0.0"


def test_an_application_sends_its_messages_unless_it_is_told_not_to_or_is_gone() -> None:
    tester = DirectTester(PERSONALITIES["single-bank"], new_flash(program("1.0.0")))
    ecu = tester.ecu
    assert ecu.lets_application_send
    ecu.handle(bytes.fromhex("28 03 01"))
    assert not ecu.lets_application_send
    ecu.handle(bytes.fromhex("28 00 01"))
    assert ecu.lets_application_send
    ecu.handle(bytes.fromhex("28 83 01"))
    ecu.forget_session()
    assert ecu.lets_application_send, "as after S3"
    ecu.handle(bytes.fromhex("10 02"))
    ecu.boot()
    assert not ecu.lets_application_send, "it is in its bootloader"
