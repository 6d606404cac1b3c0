"""A session that is lost between two messages is entered again, and the step continues without doing anything twice."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.uds.errors import EcuLost, EcuRefused
from otabench.bench.uds.profile import load
from otabench.bench.uds.slot_table import SlotState
from tests.bench.gateway.scripted_ecu import CONFIRMED, INVALID, SECRET, STAGED, TRIAL, ScriptedEcu, ScriptedSlot
from tests.bench.gateway.scripted_rig import ScriptedEcuRig, answer_once, channel, profile_text
from tests.stalls import within

MakeRig = Callable[..., ScriptedEcuRig]
FF01, ACTIVATE, CONFIRM, REVERT = (bytes.fromhex(f"3101{routine}") for routine in ("FF01", "0210", "0211", "0212"))
RESET, DTC_OFF, SILENCE, EXTENDED = (bytes.fromhex(text) for text in ("1101", "8502", "280301", "1003"))


def reset_at(head: bytes, *, is_done: bool, occurrence: int = 1) -> Callable[[bytes, ScriptedEcu], Any]:
    """Power-cycle the ECU once at a request: before it carries out the request, or afterwards, so that the response is lost."""
    seen = 0

    def script(request: bytes, ecu: ScriptedEcu) -> Any:
        nonlocal seen
        seen += request.startswith(head)
        if not request.startswith(head) or seen != occurrence:
            return True
        seen += 1
        if is_done:
            ecu._answer(request)
        ecu.power_cycle(0.3)
        return None

    return script


def lose_answer(head: bytes) -> Callable[[bytes, ScriptedEcu], Any]:
    """Let the ECU carry out a request, and lose its response, once."""
    is_lost = False

    def script(request: bytes, ecu: ScriptedEcu) -> Any:
        nonlocal is_lost
        if is_lost or not request.startswith(head):
            return True
        answer = ecu._answer(request)
        is_lost = answer is not None and answer[0] != 0x7F
        return None if is_lost else answer

    return script


def count(ecu: ScriptedEcu, head: bytes) -> int:
    return sum(request.startswith(head) for request in ecu.requests)


def is_updated(rig: ScriptedEcuRig) -> bool:
    active = rig.vehicle.identify()["engine"].active
    return (active.version, active.state) == ("2.0.0", SlotState.CONFIRMED)


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("head", [DTC_OFF, SILENCE], ids=["85", "28"])
def test_an_ecu_that_was_reset_in_pre_programming_enters_it_again(
    make_rig: MakeRig, head: bytes, is_done: bool
) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=reset_at(head, is_done=is_done)))
    rig.stage()
    ecu = rig.ecus["engine"]
    assert ecu.slots[1].state == STAGED and ecu.transfers == 1
    after = ecu.requests[[request[:2] for request in ecu.requests].index(head[:2]) + 1 :]
    assert [request for request in after if request in (EXTENDED, DTC_OFF, SILENCE)][-3:] == [
        EXTENDED,
        DTC_OFF,
        SILENCE,
    ]
    assert "NRC 7F" in rig.events("flash.reentry")[0].data["reason"]


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("head", [FF01, ACTIVATE, RESET, CONFIRM], ids=["FF01", "0210", "11", "0211"])
def test_an_ecu_that_is_reset_after_staging_is_updated_all_the_same(
    make_rig: MakeRig, head: bytes, is_done: bool
) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=reset_at(head, is_done=is_done)))
    rig.update()
    assert is_updated(rig)
    told = rig.events("flash.reentry")
    assert told[0].job_id == "job-1" and (told[0].data["attempt"], told[0].data["of"]) == (1, 3)
    assert (
        told[0].data["step"].replace(" ", "").startswith(head.hex().upper()) and "no answer" in told[0].data["reason"]
    )


def test_an_ecu_that_was_reset_before_it_is_activated_is_silenced_again(make_rig: MakeRig) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=reset_at(FF01, is_done=False)))
    rig.stage()
    rig.ecus["engine"].requests.clear()
    rig.activate()
    requests = rig.ecus["engine"].requests
    cut = requests.index(FF01)
    again = [request for request in requests[cut + 1 :] if request in (EXTENDED, DTC_OFF, SILENCE, FF01)]
    assert again == [EXTENDED, DTC_OFF, SILENCE, FF01]
    assert not any(request.startswith(b"\x31\x01\x02\x03") for request in requests), "preconditions were met before"


@pytest.mark.parametrize("head", [ACTIVATE, CONFIRM], ids=["0210", "0211"])
def test_a_routine_whose_answer_was_lost_is_not_started_again(make_rig: MakeRig, head: bytes) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lose_answer(head)))
    rig.update()
    assert is_updated(rig) and rig.ecus["engine"].done.count(int.from_bytes(head[2:], "big")) == 1


def test_a_trial_whose_reset_was_not_answered_is_not_reset_again(make_rig: MakeRig) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lose_answer(RESET)))
    rig.update()
    assert is_updated(rig)
    assert count(rig.ecus["engine"], RESET) == 1 and rig.ecus["engine"].boots_left == 2


def test_a_revert_whose_answer_was_lost_is_not_started_again(make_rig: MakeRig) -> None:
    slots = [ScriptedSlot(CONFIRMED, (1, 0, 0)), ScriptedSlot(TRIAL, (2, 0, 0))]
    rig = make_rig(engine=ScriptedEcu(channel(), slots=slots, active=1, script=lose_answer(REVERT)))
    assert rig.revert()["engine"].software_version == "1.0.0"
    assert rig.ecus["engine"].done == [0x0212] and slots[1].state == INVALID


def test_conditions_that_changed_meanwhile_are_looked_at_again(make_rig: MakeRig) -> None:
    def confirm_by_itself(request: bytes, ecu: ScriptedEcu) -> Any:
        if request == CONFIRM and ecu.unlocked and ecu.slots[1].state == TRIAL:
            ecu.slots[1].state = CONFIRMED
        return True

    # given an ECU that answers 22 to 0211, because its slot is not TRIAL any more
    rig = make_rig(engine=ScriptedEcu(channel(), script=confirm_by_itself))
    rig.update()
    assert is_updated(rig) and 0x0211 not in rig.ecus["engine"].done


def test_a_refusal_for_good_is_not_asked_again(make_rig: MakeRig) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x31, b"\x7f\x31\x22", times=99, at=3)))
    rig.stage()
    with pytest.raises(EcuRefused, match=r"31 01 FF01 .*NRC 22 conditionsNotCorrect"):
        rig.activate()
    assert count(rig.ecus["engine"], FF01) == 1 and not rig.events("flash.reentry")


def test_a_session_that_is_lost_every_time_is_given_up(make_rig: MakeRig) -> None:
    def forget(request: bytes, ecu: ScriptedEcu) -> Any:
        return b"\x7f\x31\x7f" if request == FF01 else True

    rig = make_rig(engine=ScriptedEcu(channel(), script=forget))
    rig.stage()
    with pytest.raises(EcuRefused, match=r"31 01 FF01 .*NRC 7F"):
        rig.activate()
    assert [event.data["attempt"] for event in rig.events("flash.reentry")] == [1, 2, 3]
    assert rig.ecus["engine"].slots[1].state == STAGED


def test_an_ecu_that_stays_away_is_given_up_in_time_with_what_was_asked(make_rig: MakeRig) -> None:
    def die(request: bytes, ecu: ScriptedEcu) -> Any:
        ecu.dark_until = float("inf") if request == FF01 else ecu.dark_until
        return request != FF01 or None

    rig = make_rig(engine=ScriptedEcu(channel(), script=die))  # its profile carries a step on for 1 s
    rig.stage()
    with (
        within(3.0),
        pytest.raises(EcuLost, match=r"engine: 31 01 FF01 .*no answer in time.*does not come back"),
    ):
        rig.activate()


def test_the_number_of_attempts_is_the_profiles(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = make_rig(
        engine=ScriptedEcu(channel(), script=lambda request, ecu: b"\x7f\x31\x7f" if request == FF01 else True)
    )
    text = profile_text(**{"attempts: 3\n": "attempts: 1\n"})
    (tmp_path / "quick.yaml").write_text(text, encoding="utf-8")
    load.cache_clear()
    rig.stage()
    with pytest.raises(EcuRefused):
        rig.activate()
    assert len(rig.events("flash.reentry")) == 1


SAFE = {"85": DTC_OFF, "28": SILENCE, "0203": b"\x31\x01\x02\x03", "2E": b"\x2e\xf1\x84", "27 seed": b"\x27\x01"}
SAFE |= {"27 key": b"\x27\x02", "FF00": b"\x31\x01\xff\x00", "0202": b"\x31\x01\x02\x02", "37": b"\x37"}


@pytest.mark.parametrize("head", SAFE.values(), ids=SAFE.keys())
def test_a_lost_answer_in_the_programming_sequence_costs_no_attempt(make_rig: MakeRig, head: bytes) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lose_answer(head)))
    rig.stage()
    assert rig.ecus["engine"].slots[1].state == STAGED and rig.ecus["engine"].transfers == 1
    assert not rig.events("flash.lost")


def test_a_key_whose_answer_was_lost_is_not_sent_again(make_rig: MakeRig) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lose_answer(b"\x27\x02")))
    rig.stage()
    asked = [request[:2] for request in rig.ecus["engine"].requests if request[0] == 0x27]
    assert asked == [b"\x27\x01", b"\x27\x02", b"\x27\x01"], "the second seed is zeros: unlocked"


def test_an_answer_that_comes_twice_is_not_taken_for_the_next_ones(make_rig: MakeRig) -> None:
    last = b""

    def also_the_one_before(request: bytes, ecu: ScriptedEcu) -> Any:
        nonlocal last
        if request[0] not in (0x22, 0x31, 0x36):
            return True
        before, last = last, ecu._answer(request) or b""
        return [before, last] if before[:1] == last[:1] else last

    rig = make_rig(engine=ScriptedEcu(channel(), script=also_the_one_before))
    rig.update()
    assert is_updated(rig)


def test_a_seed_that_comes_late_is_not_taken_for_the_one_asked_for_again(make_rig: MakeRig) -> None:
    """Each wrong key counts: three of them would lock the ECU."""
    seeds = iter(bytes((number,)) * 16 for number in range(1, 9))
    given: list[bytes] = []
    late: list[bytes] = []

    def slow(request: bytes, ecu: ScriptedEcu) -> Any:
        if request == b"\x27\x01" and not ecu.unlocked:
            given.append(next(seeds))
            answer = b"\x67\x01" + given[-1]
            if len(given) == 1:  # it comes once the next request is in
                late.append(answer)
                return None
            return [*late, answer]
        if request[:2] == b"\x27\x02":
            ecu.unlocked = request[2:] == hmac.new(SECRET, given[-1], hashlib.sha256).digest()
            return b"\x67\x02" if ecu.unlocked else b"\x7f\x27\x35"
        answers = [*late, ecu._answer(request)]
        late.clear()
        return answers

    rig = make_rig(engine=ScriptedEcu(channel(), script=slow))
    rig.stage()
    assert rig.ecus["engine"].slots[1].state == STAGED and not rig.events("flash.lost")


def twice_heard(seeds: list[bytes]) -> Callable[[bytes, ScriptedEcu], Any]:
    """Let the first 27 01 arrive twice. The ECU sends two seeds, and only the second one is valid."""
    given: list[bytes] = []

    def script(request: bytes, ecu: ScriptedEcu) -> Any:
        if request == b"\x27\x01" and not ecu.unlocked:
            given.append(seeds[len(given)])
            return b"\x67\x01" + given[-1]
        if request[:2] == b"\x27\x02":
            again = [] if len(given) > 1 else [b"\x67\x01" + seeds[1]]
            given.extend(seeds[1:2] if again else [])
            ecu.unlocked = request[2:] == hmac.new(SECRET, given[-1], hashlib.sha256).digest()
            return [*again, b"\x67\x02" if ecu.unlocked else b"\x7f\x27\x35"]
        return True

    return script


def test_a_key_that_is_refused_because_two_seeds_were_given_is_no_wrong_secret(make_rig: MakeRig) -> None:
    seeds = [bytes((number,)) * 16 for number in range(1, 4)]
    rig = make_rig(engine=ScriptedEcu(channel(), script=twice_heard(seeds)))
    rig.stage()
    assert rig.ecus["engine"].slots[1].state == STAGED and not rig.events("flash.lost")
    keys = [request for request in rig.ecus["engine"].requests if request[:2] == b"\x27\x02"]
    assert len(keys) == 2, "an attempt is not spent where nothing says that the seed was another one"


def test_of_two_seeds_that_came_the_last_one_counts(make_rig: MakeRig) -> None:
    seeds = [bytes((number,)) * 16 for number in (1, 2)]

    def script(request: bytes, ecu: ScriptedEcu) -> Any:
        if request == b"\x27\x01" and not ecu.unlocked:
            return [b"\x67\x01" + seed for seed in seeds]
        if request[:2] == b"\x27\x02":
            ecu.unlocked = request[2:] == hmac.new(SECRET, seeds[-1], hashlib.sha256).digest()
            return b"\x67\x02" if ecu.unlocked else b"\x7f\x27\x35"
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=script))
    client = rig.vehicle._link_of["engine"].client("engine")
    answer = client.request

    def wait_for_both(payload: bytes, **arguments: Any) -> bytes:
        first = answer(payload, **arguments)
        if payload == b"\x27\x01":
            time.sleep(0.1)
        return first

    client.request = wait_for_both  # type: ignore[method-assign]
    client.enter_session(0x02, step="10 02")
    client.unlock()
    assert rig.ecus["engine"].unlocked
    assert len([request for request in rig.ecus["engine"].requests if request[:2] == b"\x27\x02"]) == 1


def test_a_key_that_is_refused_is_not_sent_again(make_rig: MakeRig) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x27, b"\x7f\x27\x35", times=99, at=1)))
    with pytest.raises(EcuRefused, match="invalidKey"):
        rig.stage()
    assert len([request for request in rig.ecus["engine"].requests if request[:2] == b"\x27\x02"]) == 1
