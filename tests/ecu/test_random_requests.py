"""Whatever a tester sends, in whatever order: the server answers as a server, and the running slot is never written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecu_firmware_sim.slots import SlotState
from tests.ecu.factory import SECRET, Bench, key_for

SENSIBLE = [
    "10 01", "10 02", "10 03", "10 82", "14 FF FF FF", "19 02 FF", "19 0A", "22 F1 89", "22 F1 A1", "27 01", "28 03 01",
    "2E F1 84 26 01 01 41", "31 01 02 02", "31 01 02 03", "31 01 02 10", "31 01 02 11", "31 01 02 12", "31 01 FF 01",
    "31 01 FF 00 44 00 10 00 00 00 00 40 00", "31 01 FF 00 44 00 F0 00 00 00 00 10 00", "37", "3E 00", "3E 80", "85 02",
    "34 00 44 00 10 00 00 00 00 00 08", "34 10 44 00 10 00 00 00 00 10 00", "34 00 44 00 F0 00 00 00 00 00 04",
    "36 01 41 42 43 44", "36 02 45 46 47 48", "36 03 FF",
]  # fmt: skip

steps = st.one_of(
    st.sampled_from(SENSIBLE).map(bytes.fromhex),
    st.binary(min_size=1, max_size=20),
    st.sampled_from(["unlock", "wait", "stage", "reset"]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(plan=st.lists(st.tuples(steps, st.booleans()), max_size=40))
def test_any_order_of_requests_is_answered_and_never_writes_the_running_slot(
    new_ecu: Callable[..., Bench], new_image: bytes, plan: list[tuple[Any, bool]]
) -> None:
    ecu = new_ecu()
    for step, functional in plan:
        running = ecu.firmware.running
        before = None if running is None else slot_bytes(ecu, running)
        perform(ecu, step, new_image, functional=functional)
        if running is not None:
            assert slot_bytes(ecu, running) == before
        states = ecu.boot_control.current.states
        assert list(states).count(SlotState.TRIAL) <= 1
        assert SlotState.CONFIRMED in states
    assert ecu.boot().slot is not None


def perform(ecu: Bench, step: Any, image: bytes, *, functional: bool) -> None:
    if step == "wait":
        ecu.now_s += 3
    elif step == "reset":
        ecu.boot()
    elif step == "unlock":
        ecu.send("10 02")
        answer = ecu.send("27 01") or b""
        if answer[:1] == b"\x67":
            ecu.send(b"\x27\x02" + key_for(answer[2:], SECRET))
    elif step == "stage":
        if not ecu.firmware.on_trial and ecu.server.dialogue.delay_until_s < ecu.now_s and ecu_is_free(ecu):
            ecu.stage(image)
    else:
        check_answer(step, ecu.send(step, functional=functional))


def ecu_is_free(ecu: Bench) -> bool:
    return ecu.boot_control.current.preferred == ecu.firmware.running


def check_answer(request: bytes, answer: bytes | None) -> None:
    if answer is None:
        return
    if answer[0] == 0x7F:
        assert len(answer) == 3 and answer[1] == request[0]
    else:
        assert answer[0] == request[0] + 0x40


def slot_bytes(ecu: Bench, slot: int) -> bytes:
    start = ecu.layout.slot_offset(slot)
    return bytes(ecu.flash.memory[start : start + ecu.layout.slot_bytes])
