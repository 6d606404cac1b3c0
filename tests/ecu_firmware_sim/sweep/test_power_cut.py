"""Power is cut at every flash operation of a whole update, in every way a write can break, and again in the recovery.

After each cut: the ECU boots a valid image that is the old or the new one, and the update then succeeds. The sweep is
``ecu_firmware_sim.sweep.powercut``; `otabench perf powercut` runs it over more.
"""

from __future__ import annotations

import itertools
from datetime import datetime, tzinfo
from pathlib import Path

import bsdiff4
import pytest
from nacl.public import PrivateKey

from otabench.ecu_firmware_sim import startup
from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore
from otabench.ecu_firmware_sim.boot.bootloader import BootPolicy
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.factory import Provision
from otabench.ecu_firmware_sim.flash.nor import Cut
from otabench.ecu_firmware_sim.sweep.bare_ecu import BareEcu, Kind, Update
from otabench.ecu_firmware_sim.sweep.powercut import CUTS, CutPoint, Scenario, SecondCuts, Sequence, Sweep, Tally
from otabench.proto import metadata_window
from otabench.proto.process_config import EcuConfig
from tests.ecu_firmware_sim.factory import (
    HARDWARE_ID,
    SECRET,
    SERIAL,
    SMALL,
    VIN,
    Bench,
    ImageMaker,
    Keys,
    Manifest,
    patch_facts,
)
from tests.ecu_firmware_sim.sealing import seal

KEY = PrivateKey(bytes(range(32)))
NO_SECOND = SecondCuts(0)
PROMISED = {1: "2.0.0", 2: "1.5.0"}


@pytest.fixture(scope="module")
def new_image(make_image: ImageMaker) -> bytes:
    """Depends on another ECU: what its Targets promise has to survive every cut, or it would not boot."""
    return make_image("2.0.0", counter=2, dependency="(2,1.5.0)")


@pytest.fixture(scope="module")
def update(keys: Keys, old_image: bytes, new_image: bytes) -> Update:
    config = EcuConfig(
        name="engine",
        vin=VIN,
        serial=SERIAL,
        hardware_id=HARDWARE_ID,
        part_number="PN-1",
        bus={},
        request_id=0x7E0,
        response_id=0x7E8,
        security_secret=SECRET.hex(),
        state_file=Path("none"),
        factory_image=Path("none"),
        image_public_key=Path("none"),
        director_root=Path("none"),
        control_port=0,
    )
    given = Provision(BootPolicy(keys.image.public_key(), HARDWARE_ID, 3), keys.pinned, KEY)
    patch = bsdiff4.diff(old_image, new_image)
    targets = Manifest(new_image, patch=patch_facts(old_image, patch), versions=PROMISED).signed(keys.other_targets)
    return Update(
        config,
        given,
        SMALL,
        old_image,
        new_image,
        {
            Kind.FULL: new_image,
            Kind.DELTA: patch,
            Kind.ENCRYPTED: seal(new_image, KEY.public_key).data,
            Kind.ENCRYPTED_DELTA: seal(patch, KEY.public_key).data,
        },
        # With a new Root, which the ECU stores on the way: a cut must leave the old or the new one.
        metadata_window.pack([keys.next_root(targets=keys.other_targets)], targets),
    )


@pytest.mark.parametrize("scenario", list(Scenario))
def test_a_cut_at_every_operation_bricks_nothing(update: Update, scenario: Scenario) -> None:
    sweep = Sweep(update, scenario, second=NO_SECOND)
    tally = sweep.run(list(Cut))
    assert tally.violations == []
    assert tally.cut_points == len(list(Cut)) * sweep.operations
    least = 45 if scenario.startswith("update") else 4
    assert sweep.operations >= least, f"only {sweep.operations} flash operations: {scenario} does less than it should"


@pytest.mark.parametrize(
    "scenario", [pytest.param(Scenario.UPDATE_FULL, marks=pytest.mark.exhaustive), Scenario.UPDATE_ENCRYPTED_DELTA]
)
def test_a_second_cut_in_the_recovery_bricks_nothing(update: Update, scenario: Scenario) -> None:
    """One operation of each recovery; `otabench perf powercut` cuts all of them."""
    tally = Sweep(update, scenario, second=SecondCuts(1, seed=1)).run([Cut.TORN])
    assert tally.violations == []
    assert tally.second_cut_points > tally.cut_points


def test_every_kind_of_cut_is_followed_by_every_kind(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[Cut, Cut]] = set()
    judge = Sweep._judge_again

    def listen(self: Sweep, memory: bytes, sequence: Sequence, tally: Tally) -> None:
        first, second = sequence.cuts
        seen.add((first.cut, second.cut))
        judge(self, memory, sequence, tally)

    monkeypatch.setattr(Sweep, "_judge_again", listen)
    Sweep(update, Scenario.REVERT_TRIAL, second=SecondCuts(1)).run()
    assert seen == set(itertools.product(CUTS, CUTS))


def test_a_memory_that_was_judged_is_not_judged_again_and_every_other_one_is(
    update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[bytes] = []
    look = Sweep._broken_promise

    def listen(self: Sweep, ecu: BareEcu) -> str:
        judged.append(bytes(ecu.flash.memory))
        return look(self, ecu)

    monkeypatch.setattr(Sweep, "_broken_promise", listen)
    tally = Sweep(update, Scenario.ROLLBACK_BY_WATCHDOG, second=SecondCuts(0)).run()
    assert len(judged) == len(set(judged)) == tally.memories
    assert tally.memories < tally.cut_points


@pytest.mark.parametrize(
    ("second", "min_points"),
    [
        pytest.param(SecondCuts(5, seed=1), 120, id="sampled"),
        pytest.param(SecondCuts(), 1000, id="every operation", marks=pytest.mark.exhaustive),
    ],
)
def test_a_second_cut_in_the_recovery_from_a_rollback_bricks_nothing(
    update: Update, second: SecondCuts, min_points: int
) -> None:
    tally = Sweep(update, Scenario.ROLLBACK_BY_WATCHDOG, second=second).run([Cut.TORN])
    assert tally.violations == []
    assert tally.second_cut_points > min_points


@pytest.mark.parametrize("step", [pytest.param(7, marks=pytest.mark.exhaustive), 23])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_a_replay_ends_in_the_memory_that_the_sweep_judged(
    update: Update, scenario: Scenario, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StandingStill(datetime):
        """Trouble codes are stored with the time."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> StandingStill:
            return cls(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr(startup, "datetime", StandingStill)
    sweep = Sweep(update, scenario, second=NO_SECOND)
    for operation in range(1, sweep.operations + 1, step):
        for cut in Cut:
            memory, reason = sweep.replay(Sequence(scenario, (CutPoint(operation, cut),)))
            assert reason == ""
            assert memory == swept_memory(sweep, operation, cut)


def swept_memory(sweep: Sweep, operation: int, cut: Cut) -> bytes:
    judged: list[bytes] = []
    sweep._judge = lambda memory, sequence, tally: (  # type: ignore[method-assign]
        judged.append(memory) if sequence.cuts == (CutPoint(operation, cut),) else None
    )
    try:
        sweep.run([cut])
    finally:
        del sweep._judge
    return judged[0]


def test_the_sweep_finds_an_ecu_that_can_be_bricked(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boot control in one copy instead of two."""
    load = BootControlStore.load

    def one_copy(self: BootControlStore) -> object:
        first, _ = SMALL.boot_control_offsets
        self._record._offsets = (first, first)
        return load(self)

    monkeypatch.setattr(BootControlStore, "load", one_copy)
    monkeypatch.setattr("otabench.ecu_firmware_sim.boot.bootloader.Bootloader._recover", _no_recovery)
    sweep = Sweep(update, Scenario.ROLLBACK_BY_WATCHDOG, second=NO_SECOND)
    violations = sweep.run(CUTS).violations
    assert violations
    assert Sequence.parse(str(violations[0].sequence)) == violations[0].sequence
    assert sweep.replay(violations[0].sequence)[1] == violations[0].reason


def _no_recovery(self: object) -> object:
    raise RuntimeError("neither boot control record is readable")


@pytest.mark.parametrize("text", ["", "update-full", "update-full:torn", "fly:torn@3", "update-full:torn@x"])
def test_a_sequence_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as update-full:torn@37"):
        Sequence.parse(text)


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_at_every_operation_of_a_rollback_leaves_the_old_version(
    keys: Keys, old_image: bytes, new_image: bytes, cut: Cut, update: Update
) -> None:
    ready = Bench(keys, old_image)
    ready.boot()
    ready.trial(new_image, manifest=Manifest(new_image, versions=PROMISED))
    ready.firmware.end_trial()
    ecu = BareEcu(update, bytes(ready.flash.memory))
    first = ecu.flash.operations
    for point in range(1, 20):
        ecu = BareEcu(update, bytes(ready.flash.memory))
        ecu.flash.on_operation = lambda step, at=first + point: cut if step.number == at else None
        try:
            ecu.boot()
        except PowerLost:
            ecu.flash.on_operation = None
            outcome = ecu.boot()
            assert outcome.slot == 0 and ecu.running_state is SlotState.CONFIRMED
        else:
            assert point > 4
            return
    raise AssertionError("the boot never ended")


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_at_every_operation_of_confirm_leaves_trial_or_confirmed_with_its_counter(
    keys: Keys, old_image: bytes, new_image: bytes, cut: Cut
) -> None:
    ready = Bench(keys, old_image)
    ready.boot()
    ready.trial(new_image, manifest=Manifest(new_image, versions=PROMISED))
    start = bytes(ready.flash.memory)
    points = 0
    while True:
        ecu = Bench(keys, old_image, memory=bytearray(start))
        ecu.boot()
        first = ecu.flash.operations
        ecu.flash.on_operation = lambda step, at=first + points + 1: cut if step.number == at else None
        try:
            ecu.firmware.confirm()
            break
        except PowerLost:
            ecu.flash.on_operation = None
        points += 1
        ecu.boot()
        control = ecu.boot_control.current
        assert (control.states[1], control.minimum_security_counter) in ((SlotState.TRIAL, 1), (SlotState.CONFIRMED, 2))
    assert points == 4
