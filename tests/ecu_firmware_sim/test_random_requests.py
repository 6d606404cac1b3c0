"""Arbitrary requests in arbitrary order, with pauses, resets and power cuts: a state machine over the pure server.

After every step: the request was answered as the standard wants it, within P2 (of the flash's own time) or by 78 first; no
operation of the flash touched the running slot; the slots changed by the table only; an image can be booted.
"""

from __future__ import annotations

from typing import Any, Final
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otabench.ecu_firmware_sim.boot.boot_control import BootControl, BootControlStore
from otabench.ecu_firmware_sim.boot.slots import TRANSITIONS, SlotState
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.nor import Cut, FlashOperation, NorFlash
from otabench.ecu_firmware_sim.uds.codes import SILENT_WHEN_FUNCTIONAL, Nrc, Session
from otabench.ecu_firmware_sim.uds.server import SERVICES, PendingResponse
from tests.ecu_firmware_sim.factory import SECRET, Bench, ImageMaker, Keys, key_for

SENSIBLE: Final = [
    "10 01", "10 02", "10 03", "10 82", "11 01", "11 03", "11 81", "14 FF FF FF", "19 02 FF", "19 06 06 02 00 FF", "19 0A",
    "22 F1 89", "22 F1 A1", "27 01", "28 03 01", "2E F1 84 26 01 01 41", "31 01 02 02", "31 01 02 03", "31 01 02 10",
    "31 01 02 11", "31 01 02 12", "31 01 FF 01", "31 01 FF 00 44 00 10 00 00 00 00 40 00", "31 81 02 02",
    "31 01 FF 00 44 00 F0 00 00 00 00 10 00", "31 01 FF 00 44 00 00 00 00 00 00 10 00",
    "37", "3E 00", "3E 80", "85 01", "85 02", "34 00 44 00 10 00 00 00 00 00 08",
    "34 10 44 00 10 00 00 00 00 10 00", "34 00 44 00 F0 00 00 00 00 00 04", "36 01 41 42 43 44", "36 02 45 46 47 48", "36 03 FF",
]  # fmt: skip
WORK: Final = [
    "31 01 FF 00 44 00 10 00 00 00 00 40 00", "31 01 FF 00 44 00 00 00 00 00 00 10 00", "31 81 02 02", "31 01 02 02",
]  # fmt: skip
"""What is answered with 78 first, done or refused."""
P2_S: Final = 0.05
requests = st.one_of(st.sampled_from(SENSIBLE).map(bytes.fromhex), st.binary(min_size=1, max_size=20))
others = st.lists(st.tuples(requests, st.booleans()), max_size=3)
"""What is sent while the ECU works: requests, physical or functional."""

EDGES: Final = {(before, after) for (before, _event), after in TRANSITIONS.items()}


class AnyTester(RuleBasedStateMachine):
    """A tester that sends anything, and an ECU whose flash takes time."""

    keys: Keys
    old_image: bytes
    new_image: bytes

    @initialize()
    def deliver(self) -> None:
        self.ecu = Bench(self.keys, self.old_image)
        memory, layout = self.ecu.flash.memory, self.ecu.layout
        self.ecu.flash = NorFlash(memory, timed_from=layout.metadata_offset, wait=self._flash_takes)
        self.ecu.flash.erase_sector_s, self.ecu.flash.program_page_s = 0.03, 0.003
        self.ecu.flash.on_operation = self._operation
        self.touched: list[FlashOperation] = []
        self.cut_in: int | None = None
        self.flash_s = 0.0
        self.commits = patch.object(BootControlStore, "commit", checked_commit)
        self.commits.start()
        self.ecu.boot()

    def _flash_takes(self, seconds: float) -> None:
        self.flash_s += seconds
        self.ecu.now_s += seconds

    def _operation(self, operation: FlashOperation) -> Cut | None:
        self.touched.append(operation)
        if self.cut_in is None:
            return None
        self.cut_in -= 1
        if self.cut_in > 0:
            return None
        self.cut_in = None
        return Cut.TORN

    # -- what a tester and the world do

    @rule(request=requests, functional=st.booleans(), meanwhile=others)
    def send(self, request: bytes, functional: bool, meanwhile: list[tuple[bytes, bool]]) -> None:
        self._with_power(lambda: self._exchange(request, functional, meanwhile))

    @rule(request=st.sampled_from(WORK).map(bytes.fromhex), functional=st.booleans(), meanwhile=others)
    def work(self, request: bytes, functional: bool, meanwhile: list[tuple[bytes, bool]]) -> None:
        def act() -> None:
            self._unlock()
            self._exchange(request, functional, meanwhile)

        self._with_power(act)

    @rule(seconds=st.sampled_from([0.01, 1.0, 3.0, 5.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.ecu.now_s += seconds
        self._with_power(lambda: self.ecu.server.tick(self.ecu.now_s))

    @rule()
    def power_cycle(self) -> None:
        self._boot()

    @rule(operations=st.integers(min_value=1, max_value=12))
    def will_lose_power(self, operations: int) -> None:
        self.cut_in = operations

    @rule(supply_v=st.sampled_from([7.0, 13.5, 13.5, 18.0]), speed=st.sampled_from([0.0, 0.0, 30.0]))
    def drive(self, supply_v: float, speed: float) -> None:
        conditions = self.ecu.server.device.conditions
        conditions.supply_v, conditions.speed_km_h = supply_v, speed

    @rule()
    def unlock(self) -> None:
        self._with_power(self._unlock)

    def _unlock(self) -> None:
        self._exchange(b"\x10\x02", False, [])
        answer = self._exchange(b"\x27\x01", False, []) or b""
        if answer[:1] == b"\x67" and any(answer[2:]):
            self._exchange(b"\x27\x02" + key_for(answer[2:], SECRET), False, [])

    @precondition(lambda self: self.cut_in is None and not self.ecu.firmware.on_trial and self._is_calm())
    @rule(activates=st.booleans())
    def stage(self, activates: bool) -> None:
        self._with_power(lambda: self.ecu.stage(self.new_image))
        assert self.ecu.states.count("STAGED") == 1
        if activates:
            self._exchange(bytes.fromhex("31 01 02 10"), False, [])
            self._boot()

    def _is_calm(self) -> bool:
        ecu = self.ecu
        conditions, dialogue = ecu.server.device.conditions, ecu.server.dialogue
        if conditions.unmet() or dialogue.delay_until_s > ecu.now_s or ecu.firmware.running is None:
            return False
        return ecu.boot_control.current.preferred == ecu.firmware.running

    # -- one exchange

    def _exchange(self, request: bytes, functional: bool, meanwhile: list[tuple[bytes, bool]]) -> bytes | None:
        ecu = self.ecu
        flash_s = self.flash_s
        answer = ecu.server.handle(request, functional=functional, now_s=ecu.now_s)
        if isinstance(answer, PendingResponse):
            assert answer.announcement == bytes((0x7F, request[0], 0x78))
            for other, to_all in meanwhile:
                self._check_busy(other, ecu.server.handle(other, functional=to_all, now_s=ecu.now_s))
            response = answer.work()
            assert answer.final(response, announced=True) == response, "after 78 the answer is always sent"
            check_answer(request, answer.final(response, announced=False), functional=functional)
            ecu.server.completed(now_s=ecu.now_s)
            answer = response
        else:
            assert self.flash_s - flash_s < P2_S, f"{request.hex()} took {self.flash_s - flash_s} s without 78"
            check_answer(request, answer, functional=functional)
        if ecu.server.reset_due is not None:
            self._boot()
        return answer

    @staticmethod
    def _check_busy(request: bytes, answer: bytes | PendingResponse | None) -> None:
        expected = None if request == b"\x3e\x80" else bytes((0x7F, request[0], Nrc.BUSY_REPEAT_REQUEST))
        assert answer == expected

    def _with_power(self, act: Any) -> None:
        try:
            act()
        except PowerLost:
            self._boot()

    def _boot(self) -> None:
        while True:
            try:
                self._check_flash()
                self.ecu.boot()
                return
            except PowerLost:
                continue

    # -- what holds after every step

    def _check_flash(self) -> None:
        """No operation of the life that ends now touched the slot that ran."""
        running = self.ecu.firmware.running
        if running is not None:
            start = self.ecu.layout.slot_offset(running)
            assert not [one for one in self.touched if start <= one.offset < start + self.ecu.layout.slot_bytes]
        self.touched.clear()

    @invariant()
    def the_running_slot_was_not_written(self) -> None:
        self._check_flash()

    @invariant()
    def at_most_one_slot_is_on_trial_and_one_is_confirmed(self) -> None:
        now = self.ecu.boot_control.current.states
        assert list(now).count(SlotState.TRIAL) <= 1
        assert SlotState.CONFIRMED in now

    @invariant()
    def the_session_is_one_of_three_and_unlocked_only_outside_default(self) -> None:
        dialogue = self.ecu.server.dialogue
        assert dialogue.session in Session
        assert not (dialogue.session is Session.DEFAULT and (dialogue.unlocked or dialogue.transfer))

    def teardown(self) -> None:
        self.cut_in = None
        try:
            assert self.ecu.boot().slot is not None
        finally:
            self.commits.stop()


commit = BootControlStore.commit


def checked_commit(store: BootControlStore, new: BootControl) -> None:
    """Commits; a record that changes a slot's state changes that of one, along an edge of the table."""
    changed = [edge for edge in zip(store.current.states, new.states, strict=True) if edge[0] is not edge[1]]
    assert len(changed) <= 1 and EDGES.issuperset(changed), changed
    commit(store, new)


def check_answer(request: bytes, answer: bytes | None, *, functional: bool) -> None:
    """Check what holds for any server: the response belongs to the request, or there is a reason for none."""
    if answer is not None and answer[0] == 0x7F:
        assert len(answer) == 3 and answer[1] == request[0] and answer[2] in list(Nrc)
        assert not (functional and answer[2] in SILENT_WHEN_FUNCTIONAL)
    elif answer is not None:
        assert answer[0] == request[0] + 0x40
    else:
        service = SERVICES.get(request[0])
        suppressed = service is not None and service.sub_functions is not None and request[1:2] >= b"\x80"
        assert functional or suppressed, f"{request.hex()} was not answered"


@pytest.fixture
def any_tester(keys: Keys, make_image: ImageMaker) -> type[AnyTester]:
    images = {
        "old_image": make_image("1.0.0", counter=1, body=bytes(600)),
        "new_image": make_image("2.0.0", counter=2, body=bytes(700)),
    }
    return type("AnyTesterHere", (AnyTester,), {"keys": keys, **images})


def test_any_order_of_requests_is_answered_and_never_writes_the_running_slot(
    any_tester: type[AnyTester], pytestconfig: pytest.Config
) -> None:
    case: Any = any_tester.TestCase
    case.settings = settings(
        max_examples=600 if pytestconfig.getoption("--exhaustive") else 60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    case("runTest").runTest()
