"""Service 27: seeds, keys, attempts and the delay, over power cycles and power cuts."""

from __future__ import annotations

import pytest

from ecu_firmware_sim.errors import PowerLost
from ecu_firmware_sim.flash import Cut
from tests.ecu.factory import SECRET, Bench, key_for

WRONG_KEY = b"\x27\x02" + bytes(32)


def seed(ecu: Bench) -> bytes:
    return ecu.must("27 01")[2:]


def fail(ecu: Bench, times: int) -> str:
    """Sends wrong keys; the last answer."""
    answer = ""
    for _ in range(times):
        seed(ecu)
        answer = ecu.ask(WRONG_KEY)
    return answer


def test_the_key_is_the_hmac_of_the_seed(ecu: Bench) -> None:
    ecu.must("10 02")
    given = seed(ecu)
    assert len(given) == 16 and any(given)
    assert ecu.send(b"\x27\x02" + key_for(given, SECRET)) == b"\x67\x02"
    assert ecu.server.dialogue.unlocked


def test_an_unlocked_ecu_gives_a_seed_of_zeros(ecu: Bench) -> None:
    ecu.unlock()
    assert ecu.must("27 01") == b"\x67\x01" + bytes(16)


def test_a_key_without_seed_is_24(ecu: Bench) -> None:
    ecu.must("10 02")
    assert ecu.ask(WRONG_KEY) == "7F 27 24"


def test_a_seed_serves_one_attempt(ecu: Bench) -> None:
    ecu.must("10 02")
    given = seed(ecu)
    assert ecu.ask(WRONG_KEY) == "7F 27 35"
    assert ecu.ask(b"\x27\x02" + key_for(given, SECRET)) == "7F 27 24"


def test_seeds_do_not_repeat(ecu: Bench) -> None:
    ecu.must("10 02")
    assert len({seed(ecu) for _ in range(20)}) == 20


def test_the_third_wrong_key_is_36_and_then_37_until_the_delay_is_over(ecu: Bench) -> None:
    ecu.must("10 02")
    assert fail(ecu, 2) == "7F 27 35"
    assert fail(ecu, 1) == "7F 27 36"
    assert ecu.ask("27 01") == "7F 27 37"
    ecu.now_s += 9.9
    ecu.must("10 02")
    assert ecu.ask("27 01") == "7F 27 37"
    ecu.now_s += 0.2
    ecu.unlock()


def test_the_delay_starts_anew_at_power_on(ecu: Bench) -> None:
    ecu.must("10 02")
    fail(ecu, 3)
    ecu.now_s += 9
    ecu.boot()
    ecu.must("10 02")
    ecu.now_s += 4
    ecu.must("3E 00")
    ecu.now_s += 4
    assert ecu.ask("27 01") == "7F 27 37"
    ecu.now_s += 3
    seed(ecu)


def test_attempts_are_kept_over_power_cycles_and_a_right_key_clears_them(ecu: Bench) -> None:
    ecu.must("10 02")
    fail(ecu, 2)
    ecu.boot()
    ecu.must("10 02")
    assert fail(ecu, 1) == "7F 27 36"
    ecu.now_s += 11
    ecu.unlock()
    ecu.boot()
    ecu.must("10 02")
    assert fail(ecu, 1) == "7F 27 35"


@pytest.mark.parametrize("operation", range(1, 7))
def test_power_cut_gives_no_free_attempt_beyond_the_one_not_compared(ecu: Bench, operation: int) -> None:
    """The attempt is written before the key is compared: without the whole write there was no comparison either."""
    ecu.must("10 02")
    seed(ecu)
    first = ecu.flash.operations
    ecu.flash.on_operation = lambda step: Cut.TORN if step.number == first + operation else None
    try:
        answer = ecu.send(WRONG_KEY)
    except PowerLost:
        answer = None
    ecu.flash.on_operation = None
    ecu.boot()
    assert answer is None or ecu.nvm.current.security_attempts == 1


def test_27_is_7f_in_the_default_session_and_there_in_extended(ecu: Bench) -> None:
    assert ecu.ask("27 01") == "7F 27 7F"
    ecu.must("10 03")
    seed(ecu)
