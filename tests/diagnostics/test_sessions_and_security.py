"""Sessions and security access of every ECU of the bench, over its own bus."""

from __future__ import annotations

import time

import pytest

from otabench.bench.errors import WaitTimeout
from otabench.bench.pytest_plugin.handles import Ecu, Power
from otabench.bench.pytest_plugin.uds import Client, IsoTpLink, key_of
from tests.diagnostics.conftest import ANSWER_S, Ask, on_each_ecu_in_turn

S3_S = 5.0


@pytest.mark.parametrize("session", ["01", "03", "02"])
def test_a_session_reports_p2_and_p2_star(ask: Ask, session: str) -> None:
    assert ask(f"10 {session}") == f"50 {session} 00 32 01 F4"
    assert ask("22 F1 86") == f"62 F1 86 {session}"


def test_the_suppress_bit_silences_the_positive_response_only(isotp: IsoTpLink, ask: Ask) -> None:
    isotp.send(bytes.fromhex("1083"))
    with pytest.raises(WaitTimeout):
        isotp.recv(timeout_s=0.2)
    assert ask("22 F1 86") == "62 F1 86 03"
    assert ask("10 D5") == "7F 10 12"


@pytest.mark.slow
@pytest.mark.parametrize("ecu", on_each_ecu_in_turn(()), indirect=True)
def test_s3_ends_a_session_and_tester_present_keeps_it(ask: Ask) -> None:
    ask("10 03")
    for _ in range(2):
        time.sleep(S3_S * 0.6)
        assert ask("3E 00") == "7E 00"
    assert ask("22 F1 86") == "62 F1 86 03"
    time.sleep(S3_S + 0.5)
    assert ask("22 F1 86") == "62 F1 86 01"


def test_a_wrong_key_is_refused_and_the_right_one_unlocks(ask: Ask, ecu: Ecu) -> None:
    ask("10 03")
    ask("10 02")
    seed = bytes.fromhex(ask("27 01"))[2:]
    assert ask(b"\x27\x02" + bytes(32)) == "7F 27 35"
    assert ask(b"\x27\x02" + key_of(ecu.endpoint, seed)) == "7F 27 24", "that seed is used up"
    fresh = bytes.fromhex(ask("27 01"))[2:]
    assert fresh != seed
    assert ask(b"\x27\x02" + key_of(ecu.endpoint, fresh)) == "67 02"


def test_unlocked_it_gives_a_seed_of_zero(unlocked: Ask) -> None:
    assert unlocked("27 01") == "67 01" + " 00" * 16


def test_leaving_the_session_locks_again(unlocked: Ask) -> None:
    unlocked("10 01")
    unlocked("10 03")
    unlocked("10 02")
    assert unlocked("27 01") != "67 01" + " 00" * 16
    assert unlocked("37") == "7F 37 33"


def test_a_reset_ends_the_session(ask: Ask, ecu: Ecu) -> None:
    ask("10 03")
    assert ask("11 01") == "51 01"
    ecu.wait_until_up()
    assert ask("22 F1 86") == "62 F1 86 01"


def test_a_power_cycle_ends_the_session(ask: Ask, ecu: Ecu, power: Power) -> None:
    ask("10 03")
    power.cycle()
    assert ask("22 F1 86") == "62 F1 86 01"


def test_without_supply_it_is_silent(isotp: IsoTpLink, power: Power) -> None:
    power.off()
    with pytest.raises(WaitTimeout):
        isotp.request(bytes.fromhex("3E00"), timeout_s=0.3)
    power.on()
    assert isotp.request(bytes.fromhex("3E00"), timeout_s=ANSWER_S) == bytes.fromhex("7E00")


@pytest.mark.every_bench
def test_udsoncan_unlocks_by_the_bench_files_secret(uds_client: Client) -> None:
    uds_client.change_session(0x03)
    uds_client.change_session(0x02)
    uds_client.unlock_security_access(0x01)
