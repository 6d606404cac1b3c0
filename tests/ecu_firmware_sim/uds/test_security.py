"""Service 27: seeds, keys, attempts and the delay, over power cycles and power cuts."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.uds import security
from otabench.ecu_firmware_sim.uds.codes import Sid
from tests.ecu_firmware_sim.factory import SECRET, Bench, key_for

WRONG_KEY = b"\x27\x02" + bytes(32)


def seed(ecu: Bench) -> bytes:
    return ecu.must("27 01")[2:]


def fail(ecu: Bench, times: int) -> str:
    """Send wrong keys; the last answer."""
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


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """The keys that were compared in constant time: the tester's and the ECU's own."""
    pairs: list[tuple[bytes, bytes]] = []

    def compare(first: bytes, second: bytes) -> bool:
        pairs.append((first, second))
        return hmac.compare_digest(first, second)

    monkeypatch.setattr(security, "hmac", SimpleNamespace(compare_digest=compare))
    return pairs


@pytest.mark.parametrize("mode", Cut)
def test_power_cut_gives_no_free_attempt(
    new_ecu: Callable[..., Bench], compared: list[tuple[bytes, bytes]], mode: Cut
) -> None:
    """The attempt is in NVM before the key is compared: a cut at any operation leaves no comparison that does not count."""
    cuts = 0
    while True:
        ecu = new_ecu()
        ecu.must("10 02")
        seed(ecu)
        compared.clear()
        at = ecu.flash.operations + cuts + 1
        ecu.flash.on_operation = lambda step, at=at: mode if step.number == at else None
        try:
            answer = ecu.ask(WRONG_KEY)
            break
        except PowerLost:
            cuts += 1
        ecu.flash.on_operation = None
        ecu.boot()
        assert not compared or ecu.nvm.current.security_attempts == 1, f"cut at operation {cuts}"
    assert cuts >= 2, "an erase and a program at the least"
    assert answer == "7F 27 35" and len(compared) == 1


def test_keys_are_compared_in_constant_time(ecu: Bench, compared: list[tuple[bytes, bytes]]) -> None:
    ecu.must("10 02")
    first = seed(ecu)
    assert ecu.ask(WRONG_KEY) == "7F 27 35"
    second = seed(ecu)
    assert ecu.ask(b"\x27\x02" + key_for(second, SECRET)) == "67 02"
    right = [key_for(given, SECRET) for given in (first, second)]
    assert compared == [(WRONG_KEY[2:], right[0]), (right[1], right[1])]


@pytest.mark.parametrize("end", ["10 01", "10 02", "10 03", "S3", "reset"])
def test_a_seed_ends_with_its_session(ecu: Bench, end: str) -> None:
    ecu.must("10 02")
    given = seed(ecu)
    if end == "S3":
        ecu.now_s += 5.1
    elif end == "reset":
        ecu.boot()
    else:
        ecu.must(end)
    if end not in ("10 02", "10 03"):
        ecu.must("10 03")
    assert ecu.ask(b"\x27\x02" + key_for(given, SECRET)) == "7F 27 24"


def test_27_is_7f_in_the_default_session_and_there_in_extended(ecu: Bench) -> None:
    assert ecu.ask("27 01") == "7F 27 7F"
    ecu.must("10 03")
    seed(ecu)


LOCKABLE = {"11 01": Sid.ECU_RESET, "14 FF FF FF": Sid.CLEAR_DIAGNOSTIC_INFORMATION}
LOCKABLE |= {"28 00 01": Sid.COMMUNICATION_CONTROL, "85 01": Sid.CONTROL_DTC_SETTING}


@pytest.mark.parametrize("request_text", LOCKABLE)
def test_an_ecu_may_keep_a_service_locked_while_it_is_programmed(
    new_ecu: Callable[..., Bench], request_text: str
) -> None:
    service = request_text[:2]
    ecu = new_ecu(locked_services=frozenset({LOCKABLE[request_text]}))
    ecu.must("10 03")
    assert ecu.ask(request_text) != f"7F {service} 33", "the programming session only"
    ecu.boot()
    ecu.must("10 03")
    ecu.must("10 02")
    assert ecu.ask(request_text) == f"7F {service} 33"
    assert ecu.ask(service) == f"7F {service} 33", "before the length"
    for other in LOCKABLE.keys() - {request_text, "11 01"}:
        assert ecu.ask(other) != f"7F {other[:2]} 33"
    ecu.unlock()
    assert ecu.must(request_text)


@pytest.mark.parametrize("request_text", LOCKABLE)
def test_without_a_setting_they_are_open_as_in_the_standard(ecu: Bench, request_text: str) -> None:
    ecu.must("10 03")
    ecu.must("10 02")
    assert ecu.must(request_text)
