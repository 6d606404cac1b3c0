"""Trial images must run and answer for a while, all together, before the first of them is confirmed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.gateway.flashing.soak import find_unsteadiness, soak_time_s
from otabench.bench.gateway.vehicle import Phase
from otabench.bench.perf.tap import Tap
from otabench.bench.uds.bus_link import ChannelOpener
from otabench.bench.uds.errors import ProfileInvalid, TrialUnsteady
from otabench.bench.uds.profile import load
from otabench.bench.uds.slot_table import Slot, SlotState, SlotTable
from otabench.bench.uds.transport import open_channel
from otabench.bench.uds.transport.errors import InterfaceDown
from tests.bench.gateway.scripted_ecu import CONFIRMED, INVALID, TRIAL, ScriptedEcu
from tests.bench.gateway.scripted_rig import ScriptedEcuRig, channel, profile_text
from tests.stalls import within

MakeRig = Callable[..., ScriptedEcuRig]
SLOTS, CONFIRM = b"\x22\xf1\xa1", b"\x31\x01\x02\x11"
OLD = Slot(SlotState.CONFIRMED, "1.0.0", 1)


def table(state: SlotState = SlotState.TRIAL, version: str = "2.0.0", *, boots_left: int = 2) -> SlotTable:
    return SlotTable(1, boots_left, (OLD, Slot(state, version, 2)))


def test_a_trial_that_runs_on_is_steady() -> None:
    assert find_unsteadiness(table(), table(), "2.0.0") == ""


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (table(boots_left=1), "it was reset: it had 2 boots left, and has 1"),
        (SlotTable(0, 0, (OLD, Slot(SlotState.INVALID, "2.0.0", 2))), "runs 1.0.0"),
        (table(version="3.0.0"), "runs 3.0.0"),
    ],
)
def test_what_is_unsteady_is_named(now: SlotTable, words: str) -> None:
    assert words in find_unsteadiness(table(), now, "2.0.0")


class Soaking:
    """Two ECUs on one bus. The first misbehaves when its slot table is read for the n-th time during the trial."""

    def __init__(
        self,
        make_rig: MakeRig,
        act: Callable[[ScriptedEcu], Any],
        *,
        soak_s: float,
        at_look: int,
        opener: ChannelOpener = open_channel,
    ) -> None:
        bus, self.looks = channel(), 0

        def script(request: bytes, ecu: ScriptedEcu) -> Any:
            if request != SLOTS or ecu.slots[ecu.active].state != TRIAL:
                return True
            self.looks += 1
            return act(ecu) if self.looks == at_look else True

        engine = ScriptedEcu(bus, script=script)
        adas = ScriptedEcu(bus, request_id=0x7E1, response_id=0x7E9)
        self.rig = make_rig(soak_s=soak_s, opener=opener, engine=engine, adas=adas)
        self.rig.stage()
        self.rig.activate()

    @property
    def confirmed(self) -> list[str]:
        return [name for name, ecu in self.rig.ecus.items() if CONFIRM in ecu.requests]


LOOKS_BEFORE_THE_SOAK = 2
"""Readings of the slot table before the soak: one while waiting for the boot, one for the identity."""
IN_THE_SOAK = LOOKS_BEFORE_THE_SOAK + 2


def test_a_trial_that_is_reset_while_it_soaks_reverts_all(make_rig: MakeRig) -> None:
    def crash(ecu: ScriptedEcu) -> None:
        ecu.power_cycle(0.1)

    soaking = Soaking(make_rig, crash, soak_s=0.3, at_look=IN_THE_SOAK)
    with pytest.raises(
        TrialUnsteady, match=r"engine: soak: 2.0.0 did not run steadily.*it had 2 boots left, and has 1"
    ):
        soaking.rig.verify()
    assert {identity.software_version for identity in soaking.rig.revert().values()} == {"1.0.0"}
    assert [ecu.slots[1].state for ecu in soaking.rig.ecus.values()] == [INVALID, INVALID] and not soaking.confirmed


def test_a_trial_that_falls_silent_while_it_soaks_is_not_confirmed(make_rig: MakeRig) -> None:
    def hang(ecu: ScriptedEcu) -> None:
        ecu.dark_until = float("inf")

    soaking = Soaking(make_rig, hang, soak_s=0.3, at_look=IN_THE_SOAK)
    with pytest.raises(TrialUnsteady, match=r"engine: soak: .*22 F1A1 read: no answer in time"):
        soaking.rig.verify()
    assert not soaking.confirmed


def test_one_lost_answer_is_no_silence(make_rig: MakeRig) -> None:
    soaking = Soaking(make_rig, lambda ecu: None, soak_s=0.3, at_look=IN_THE_SOAK)
    soaking.rig.verify()
    assert {identity.active.state for identity in soaking.rig.confirm().values()} == {SlotState.CONFIRMED}


class Unplugged(Tap):
    """A bus that refuses a given number of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = 0

    def around(self, payload: bytes, send: Callable[[], None]) -> None:
        if self.refuses and payload[0] != 0x3E:
            self.refuses -= 1
            raise InterfaceDown("the interface is down")
        send()


def test_a_bus_that_is_away_for_a_moment_is_no_silence_of_the_trials(make_rig: MakeRig) -> None:
    bus = Unplugged()

    def pull(ecu: ScriptedEcu) -> bool:
        bus.refuses = 5
        return True

    soaking = Soaking(make_rig, pull, soak_s=0.6, at_look=IN_THE_SOAK, opener=bus.open)
    soaking.rig.verify()
    assert bus.refuses == 0
    assert {identity.active.state for identity in soaking.rig.confirm().values()} == {SlotState.CONFIRMED}


def test_a_reset_before_the_soak_is_not_held_against_a_trial(make_rig: MakeRig) -> None:
    def crash(ecu: ScriptedEcu) -> None:
        ecu.power_cycle(0.1)

    soaking = Soaking(make_rig, crash, soak_s=0.3, at_look=1)
    soaking.rig.verify()
    soaking.rig.confirm()
    assert [ecu.slots[1].state for ecu in soaking.rig.ecus.values()] == [CONFIRMED, CONFIRMED]


def test_all_are_asked_until_the_time_is_over_and_the_phase_says_so(make_rig: MakeRig) -> None:
    soaking = Soaking(make_rig, lambda ecu: True, soak_s=0.6, at_look=0)
    started = time.monotonic()
    soaking.rig.verify()
    assert time.monotonic() - started >= 0.6
    assert soaking.looks - LOOKS_BEFORE_THE_SOAK == 1 + 3, "at its beginning, and every 0.25 s at the latest"
    told = [(seen.ecu, seen.detail) for seen in soaking.rig.seen if seen.phase is Phase.SOAKING]
    assert told == [("engine", "for 0.6 s"), ("adas", "for 0.6 s")]
    assert [event.ecu for event in soaking.rig.events("ecu.phase") if event.data["phase"] == "soaking"] == [
        "engine",
        "adas",
    ]


def test_without_a_soak_nobody_is_asked(make_rig: MakeRig) -> None:
    soaking = Soaking(make_rig, lambda ecu: True, soak_s=0.0, at_look=0)
    soaking.rig.verify()
    assert soaking.looks == LOOKS_BEFORE_THE_SOAK
    assert not [seen for seen in soaking.rig.seen if seen.phase is Phase.SOAKING]


def test_an_ecu_that_is_confirmed_already_is_not_watched(make_rig: MakeRig) -> None:
    rig = make_rig(soak_s=5.0)
    rig.stage()
    rig.activate()
    rig.confirm()
    with within(4.0):
        rig.verify()


def test_the_longest_time_of_the_profiles_counts_unless_one_is_configured() -> None:
    shipped = load("iso14229-ab")
    longer = shipped.model_copy(update={"soak": shipped.soak.model_copy(update={"time_s": 7.0})})
    both = {"engine": shipped, "adas": longer}
    assert (shipped.soak.time_s, soak_time_s(both, None), soak_time_s(both, 0.5)) == (2.0, 7.0, 0.5)


def test_a_soak_that_outlasts_the_trial_is_refused_before_anything_is_sent(make_rig: MakeRig) -> None:
    rig = make_rig(soak_s=60.0)
    with pytest.raises(ProfileInvalid, match=r"engine: soak: a soak of 60 s outlasts the trial, .* after 60 s"):
        rig.stage()
    assert not rig.ecus["engine"].requests


def test_a_profile_whose_soak_outlasts_its_trial_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text(profile_text(**{"time_s: 2.0": "time_s: 99"}), encoding="utf-8")
    with pytest.raises(ProfileInvalid, match=r"soak: .*a soak of 99 s outlasts the trial"):
        load(str(path))
