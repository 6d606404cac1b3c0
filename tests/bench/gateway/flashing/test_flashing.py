"""The flashing client with an ECU that misbehaves: each failure has its own error, and the active slot is untouched."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.gateway.flashing import probe
from otabench.bench.gateway.vehicle import Phase
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused, FlashCanceled, FlashError, RolledBack
from otabench.bench.uds.profile import load
from otabench.bench.uds.slot_table import SlotState
from tests.bench.gateway.scripted_ecu import CONFIRMED, EMPTY, INVALID, STAGED, TRIAL, ScriptedEcu, ScriptedSlot
from tests.bench.gateway.scripted_rig import IMAGE, ScriptedEcuRig, answer_once, channel, endpoint, profile_text
from tests.stalls import within
from tests.waiting import eventually


def test_a_whole_update_of_two_ecus_on_one_bus(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    bus = channel()
    rig = make_rig(engine=ScriptedEcu(bus), adas=ScriptedEcu(bus, request_id=0x7E1, response_id=0x7E9))
    rig.stage()
    assert [bytes(ecu.memory) for ecu in rig.ecus.values()] == [IMAGE, IMAGE]
    assert {identity.slots[1].state for identity in rig.vehicle.identify().values()} == {SlotState.STAGED}
    rig.activate()
    assert {identity.active.state for identity in rig.verify().values()} == {SlotState.TRIAL}
    assert {identity.active.state for identity in rig.confirm().values()} == {SlotState.CONFIRMED}
    rig.vehicle.finish(job_id="job-1")
    eventually(lambda: b"\x10\x81" in rig.ecus["engine"].requests)
    engine = [request.hex() for request in rig.ecus["engine"].requests]
    order = ["1003", "31010203", "8502", "280301", "1002", "2701", "3101ff00", "3400440010", "31010202"]
    order += ["3101ff01", "31010210", "1101", "31010211", "288001", "8581", "1081"]
    positions = [next(i for i, request in enumerate(engine) if request.startswith(prefix)) for prefix in order]
    assert positions == sorted(positions)
    transfers = rig.events("flash.transfer")
    assert {(event.ecu, event.data["kind"]) for event in transfers} == {
        (ecu, kind) for ecu in ("engine", "adas") for kind in ("metadata", "full")
    }
    assert all(event.job_id == "job-1" for event in transfers)
    blocks = [event for event in rig.events("uds.exchange") if event.data["service"] == "36" and event.ecu == "adas"]
    assert [event.data["block_sequence_counter"] for event in blocks[-7:]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(len(event.data["request"]) == 4 for event in blocks)
    phases = [seen.phase for seen in rig.seen if seen.ecu == "engine"]
    assert [phase for phase, _ in itertools.groupby(phases)] == [
        Phase.WAITING, Phase.ERASING, Phase.TRANSFERRING, Phase.CHECKING, Phase.STAGED, Phase.ACTIVATING, Phase.TRIAL, Phase.SOAKING,
        Phase.CONFIRMED,
    ]  # fmt: skip


def test_an_ecu_is_unlocked_before_it_is_asked_to_confirm(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel()))
    rig.update()
    assert [event.data["nrc"] for event in rig.events("uds.exchange") if event.data["nrc"]] == []


def test_a_profile_that_does_not_know_of_the_lock_learns_of_it_from_the_ecu(
    make_rig: Callable[..., ScriptedEcuRig], tmp_path: Path
) -> None:
    rig = make_rig(engine=ScriptedEcu(channel()))
    profile = tmp_path / "quick.yaml"
    profile.write_text(profile_text(**{"for_slot_routines: true": "for_slot_routines: false"}), encoding="utf-8")
    load.cache_clear()
    rig.update()
    assert [event.data["nrc"] for event in rig.events("uds.exchange") if event.data["nrc"]] == [0x33]


def test_two_buses_are_programmed_at_the_same_time(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    meeting = threading.Barrier(2, timeout=60)
    met: set[str] = set()

    def wait_for_the_other(request: bytes, ecu: ScriptedEcu) -> bool:
        if request[0] == 0x36 and ecu.channel not in met:
            met.add(ecu.channel)
            meeting.wait()
        return True

    # given two buses whose first blocks are answered only when both have arrived (P2 of this profile is long enough)
    rig = make_rig(
        engine=ScriptedEcu(channel(), script=wait_for_the_other), adas=ScriptedEcu(channel(), script=wait_for_the_other)
    )
    rig.stage()
    assert len(met) == 2 and not meeting.broken


def test_a_lost_answer_repeats_the_block_with_the_same_counter(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def take_it_and_say_nothing(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:2] == b"\x36\x03" and ecu.address == 0x100000 and ecu.requests.count(request) == 1:
            ecu._answer(request)
            return None
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=take_it_and_say_nothing))
    rig.stage()
    ecu = rig.ecus["engine"]
    assert bytes(ecu.memory) == IMAGE
    thirds = [request for request in ecu.requests if request[:2] == b"\x36\x03" and len(request) > 200]
    assert thirds[0] == thirds[1] and ecu.transfers == 1


def test_a_power_cycle_in_the_transfer_begins_the_ecu_anew(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def cut(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:2] == b"\x36\x04" and ecu.address == 0x100000 and ecu.transfers == 1:
            ecu.power_cycle(0.4)
            return None
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=cut))
    rig.stage()
    assert rig.ecus["engine"].transfers == 2 and bytes(rig.ecus["engine"].memory) == IMAGE
    assert [event.data["attempt"] for event in rig.events("flash.lost")] == [1]


def test_silence_for_good_in_the_transfer_is_a_retryable_loss(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def die(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:2] == b"\x36\x02" and ecu.address == 0x100000:
            ecu.dark_until = float("inf")
        return None if ecu.dark_until else True

    rig = make_rig(engine=ScriptedEcu(channel(), script=die))
    with within(12.0), pytest.raises(EcuLost, match=r"engine: .*given up after 2 attempts") as caught:
        rig.stage()
    assert caught.value.retryable and caught.value.ecu == "engine"
    assert rig.ecus["engine"].slots[0].state == CONFIRMED and rig.seen[-1].phase is Phase.FAILED


REFUSALS = [
    (0x34, 0x70, "uploadDownloadNotAccepted"),
    (0x36, 0x92, "voltageTooHigh.*supply"),
    (0x36, 0x72, "generalProgrammingFailure"),
    (0x27, 0x36, "exceededNumberOfAttempts.*security_secret"),
    (0x27, 0x35, "invalidKey.*security_secret"),
    (0x27, 0x37, "requiredTimeDelayNotExpired"),
    (0x28, 0x22, "conditionsNotCorrect.*standstill"),
    (0x31, 0x22, "conditionsNotCorrect"),
    (0x2E, 0x31, "requestOutOfRange"),
    (0x10, 0x22, "conditionsNotCorrect"),
]


def test_a_refusal_is_final_and_says_what_to_do(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig()
    ecu = rig.ecus["engine"]
    for service, nrc, names in REFUSALS:
        ecu.script = answer_once(service, bytes((0x7F, service, nrc)), times=99)
        with pytest.raises(EcuRefused, match=f"engine: {service:02X} .*NRC {nrc:02X} {names}") as caught:
            rig.stage()
        assert (caught.value.nrc, caught.value.retryable) == (nrc, False)
        assert ecu.slots[0].state == CONFIRMED and ecu.slots[1].state != STAGED


def test_a_delay_after_wrong_keys_is_waited_out(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x27, b"\x7f\x27\x37")))
    rig.stage()
    assert rig.ecus["engine"].slots[1].state == STAGED


def test_busy_is_repeated_and_pending_is_waited_for(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def busy_then_pending(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:4] == b"\x31\x01\xff\x00":
            if ecu.requests.count(request) <= 2:
                return b"\x7f\x31\x21"
            return [b"\x7f\x31\x78", b"\x7f\x31\x78", ecu._answer(request)]
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=busy_then_pending))
    rig.stage()
    assert rig.ecus["engine"].slots[1].state == STAGED


def test_pending_without_an_end_is_given_up(make_rig: Callable[..., ScriptedEcuRig], tmp_path: Path) -> None:
    stop = threading.Event()

    def forever(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:4] != b"\x31\x01\xff\x00":
            return True
        while not stop.wait(0.02):
            ecu._stack.send(b"\x7f\x31\x78")
            if len(ecu.requests) > 200:
                break
        return None

    rig = make_rig(engine=ScriptedEcu(channel(), script=forever))
    profile = tmp_path / "quick.yaml"
    profile.write_text(profile_text(**{"max_pending_s: 60.0": "max_pending_s: 0.3"}), encoding="utf-8")
    load.cache_clear()
    threading.Timer(3.0, stop.set).start()
    with pytest.raises(EcuLost, match=r"NRC 78 .*ResponsePending: sent for more than 0.3 s"):
        rig.stage()
    stop.set()


def test_a_wrong_block_counter_in_the_answer_is_a_contradiction(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x36, b"\x76\x09", times=99, at=3)))
    with pytest.raises(EcuContradicts, match=r"36 02 transfer data: answered 76 09"):
        rig.stage()


def test_the_late_answer_to_a_block_that_was_repeated_is_passed_over(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    blocks = itertools.count()

    def late_answer(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[0] == 0x36 and next(blocks) == 3:
            ecu._stack.send(bytes((0x76, request[1] - 1)))
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=late_answer))
    rig.stage()
    assert bytes(rig.ecus["engine"].memory) == IMAGE


def test_a_block_to_which_only_the_answer_to_the_one_before_came_is_sent_again(
    make_rig: Callable[..., ScriptedEcuRig],
) -> None:
    blocks = itertools.count()

    def late_answer_and_silence(request: bytes, ecu: ScriptedEcu) -> Any:
        return bytes((0x76, request[1] - 1)) if request[0] == 0x36 and next(blocks) == 3 else True

    rig = make_rig(engine=ScriptedEcu(channel(), script=late_answer_and_silence))
    rig.stage()
    assert bytes(rig.ecus["engine"].memory) == IMAGE


def test_an_answer_of_another_service_is_a_contradiction(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x2E, b"\x62\xf1\x84\x00", times=99)))
    with pytest.raises(EcuContradicts, match=r"2E F184 .*62 F1 84"):
        rig.stage()


def test_the_status_of_check_memory_is_put_into_words(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def wrong_signature(request: bytes, ecu: ScriptedEcu) -> Any:
        return b"\x71\x01\x02\x02\x04" if request[:4] == b"\x31\x01\x02\x02" else True

    rig = make_rig(engine=ScriptedEcu(channel(), script=wrong_signature))
    with pytest.raises(EcuRefused, match="31 01 0202 check memory: status 04: the image's signature is wrong"):
        rig.stage()


def test_unmet_preconditions_are_named_before_anything_is_erased(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def driving(request: bytes, ecu: ScriptedEcu) -> Any:
        return b"\x71\x01\x02\x03\x02\x01\x03" if request[:4] == b"\x31\x01\x02\x03" else True

    rig = make_rig(engine=ScriptedEcu(channel(), script=driving))
    with pytest.raises(EcuRefused, match="the vehicle is moving: stop it; the supply voltage is out of range"):
        rig.stage()
    assert not any(request[:4] == b"\x31\x01\xff\x00" for request in rig.ecus["engine"].requests)


@pytest.mark.parametrize("where", ["at 37", "at 0202", "at 34"])
def test_a_refused_patch_is_followed_by_the_full_image(make_rig: Callable[..., ScriptedEcuRig], where: str) -> None:
    def refuse(request: bytes, ecu: ScriptedEcu) -> Any:
        is_patch = ecu.transfers == 1
        if where == "at 34" and request[:2] == b"\x34\x10":
            return b"\x7f\x34\x31"
        if where == "at 37" and request == b"\x37" and is_patch and ecu.address == 0x100000:
            return [b"\x7f\x37\x78", b"\x7f\x37\x72"]
        if where == "at 0202" and request[:4] == b"\x31\x01\x02\x02" and is_patch:
            return b"\x71\x01\x02\x02\x08"
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=refuse))
    rig.images = [rig.image("engine", patch=b"BSDIFF40 of some other base")]
    full = rig.images[0].image
    full.unlink()

    def fetch(ecu: str) -> None:
        rig.fetched.append(ecu)
        full.write_bytes(IMAGE)

    rig.stage(fetch)
    assert rig.fetched == ["engine"] and bytes(rig.ecus["engine"].memory) == IMAGE
    assert len(rig.events("flash.patch_refused")) == 1


def test_a_staged_image_is_checked_and_not_sent_again(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig()
    rig.stage()
    rig.stage()
    assert rig.ecus["engine"].transfers == 1


def test_an_ecu_that_runs_the_version_is_left_alone(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    slots = [ScriptedSlot(CONFIRMED, (2, 0, 0)), ScriptedSlot(EMPTY)]
    rig = make_rig(engine=ScriptedEcu(channel(), slots=slots))
    rig.stage()
    rig.activate()
    assert {request[0] for request in rig.ecus["engine"].requests} == {0x22}


def test_cancel_ends_between_two_blocks(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    def cancel(request: bytes, ecu: ScriptedEcu) -> bool:
        if request[:2] == b"\x36\x03":
            rig.cancel.set()
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=cancel))
    with pytest.raises(FlashCanceled):
        rig.stage()
    assert rig.ecus["engine"].slots[0].state == CONFIRMED and rig.ecus["engine"].requests[-1][:2] == b"\x36\x03"


def test_a_rolled_back_ecu_is_named_with_what_it_runs(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), rolls_back=True))
    rig.stage()
    rig.activate()
    with pytest.raises(RolledBack, match=r"2.0.0 did not come up .*runs 1.0.0 .CONFIRMED., the other slot is INVALID"):
        rig.verify()
    assert rig.revert()["engine"].software_version == "1.0.0"


def test_an_ecu_that_never_comes_back_is_lost(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), boot_s=60.0))
    rig.stage()
    rig.activate()
    with pytest.raises(EcuLost, match=r"2.0.0 did not come up in time"):
        rig.verify()


def test_confirm_confirms_nobody_unless_all_are_in_trial(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    bus = channel()
    rig = make_rig(engine=ScriptedEcu(bus), adas=ScriptedEcu(bus, request_id=0x7E1, response_id=0x7E9, rolls_back=True))
    rig.stage()
    rig.activate()
    time.sleep(0.1)
    with pytest.raises(RolledBack, match="adas: confirm"):
        rig.confirm()
    assert rig.ecus["engine"].slots[1].state == TRIAL
    assert {identity.software_version for identity in rig.revert().values()} == {"1.0.0"}
    assert rig.ecus["engine"].slots[1].state == INVALID


def test_a_trial_that_was_never_reset_into_is_canceled_by_revert(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    slots = [ScriptedSlot(CONFIRMED, (1, 0, 0)), ScriptedSlot(TRIAL, (2, 0, 0))]
    rig = make_rig(engine=ScriptedEcu(channel(), slots=slots))
    assert rig.revert()["engine"].software_version == "1.0.0"
    assert rig.ecus["engine"].slots[1].state == STAGED


def test_activate_without_a_staged_slot_says_so(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig()
    with pytest.raises(
        EcuContradicts, match=r"2.0.0 is not staged: it runs 1.0.0 .CONFIRMED., the other slot is EMPTY"
    ):
        rig.activate()


def test_activate_repeated_after_a_lost_reset_only_resets(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=answer_once(0x11, None, times=2)))
    rig.stage()
    rig.activate()  # the reset is lost twice, the slot is TRIAL and not yet active
    rig.activate()
    assert rig.verify()["engine"].software_version == "2.0.0"
    assert sum(request[:4] == b"\x31\x01\x02\x10" for request in rig.ecus["engine"].requests) == 1


def test_finish_says_nothing_of_a_silent_ecu(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lambda request, ecu: None))
    rig.vehicle.finish(job_id="job-1")
    sent = [event.data["request"] for event in rig.events("uds.exchange")]
    assert sent == ["288001", "8581", "1081", "190208"]


def test_tester_present_is_kept_up_while_programming(make_rig: Callable[..., ScriptedEcuRig], tmp_path: Path) -> None:
    def slow(request: bytes, ecu: ScriptedEcu) -> Any:
        if request[:4] == b"\x31\x01\xff\x00":
            time.sleep(0.2)
        return True

    rig = make_rig(engine=ScriptedEcu(channel(), script=slow))
    (tmp_path / "quick.yaml").write_text(
        profile_text(**{"tester_present_s: 2.0": "tester_present_s: 0.05"}), encoding="utf-8"
    )
    load.cache_clear()
    rig.stage()
    sent = [event for event in rig.events("uds.exchange") if event.data["request"] == "3e80"]
    assert len(sent) >= 3
    assert {event.data["functional_id"] for event in sent} == {0x7DF}


def test_identify_of_a_silent_ecu_is_retryable(make_rig: Callable[..., ScriptedEcuRig]) -> None:
    rig = make_rig(engine=ScriptedEcu(channel(), script=lambda request, ecu: None))
    with pytest.raises(EcuLost, match="engine: 22 F1A1 read: no answer in time"):
        rig.vehicle.identify()


def test_probe_asks_one_ecu(make_rig: Callable[..., ScriptedEcuRig], tmp_path: Path) -> None:
    rig = make_rig()
    identity = probe(endpoint("engine", rig.ecus["engine"], tmp_path))
    assert (identity.serial, identity.hardware_id, identity.software_version) == ("SN-1", "engine-mcu-a", "1.0.0")


def test_an_unknown_bus_is_one_clear_error(tmp_path: Path) -> None:
    lost = endpoint("engine", ScriptedEcu("x"), tmp_path).model_copy(
        update={"bus": {"interface": "socketcan", "channel": "nocan9"}}
    )
    with pytest.raises(FlashError, match="nocan9: cannot be opened") as caught:
        probe(lost)
    assert "with-can" in str(caught.value) and caught.value.retryable
