"""The power-cut sweep: power is cut at every flash operation of an update, in every way in which a write can break, once or twice.

After each cut the following must hold: a verified image boots; it is the old or the new version; no slot has lost its promises
(``dependencies``; a swept update promises all that its images need); the same update then succeeds up to the confirmed new version; and
a trial that was given up has left its trouble code. If one of these does not hold, it is a ``Violation``, with the sequence of cuts that
led to it.

The method: the act that is swept runs once, without cuts. Before each flash operation the memory is copied, and the operation is cut
in the copy: flash is all that a cut leaves behind, as RAM is lost with the power. ``replay`` performs a sequence the slow way, by
cutting the power in the middle of the act itself; a test shows that both result in the same memory.
An ECU's further behavior depends on its flash alone: a memory that was judged before, byte by byte, is counted and not judged again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from otabench.ecu_firmware_sim.boot.bootloader import BootNote
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.errors import PowerLost
from otabench.ecu_firmware_sim.flash.nor import Cut, FlashOperation, NorFlash, OperationKind
from otabench.ecu_firmware_sim.sweep.bare_ecu import BareEcu, Kind, Update, UpdateRefused
from otabench.ecu_firmware_sim.uds.dtc import Dtc

# Not all four, because each cut costs a boot and an update.
CUTS: Final = (Cut.BEFORE, Cut.TORN, Cut.GARBAGE)
"""``AFTER`` one operation is ``BEFORE`` the next."""
_TRIAL_SLOT: Final = 1
"""A new ECU runs slot 0, so that its first trial is in slot 1."""


class Scenario(StrEnum):
    """The activity of the ECU during which power is cut."""

    UPDATE_FULL = "update-full"
    UPDATE_DELTA = "update-delta"
    UPDATE_ENCRYPTED = "update-encrypted"
    UPDATE_ENCRYPTED_DELTA = "update-encrypted-delta"
    REVERT_TRIAL = "revert-trial"
    REVERT_ACTIVATED = "revert-activated"
    ROLLBACK_BY_WATCHDOG = "rollback-by-watchdog"
    ROLLBACK_BY_BOOTS = "rollback-by-boots"


@dataclass(frozen=True)
class _Script:
    """A scenario: ``prepare`` leads from the factory state to the beginning of ``act``, which is swept. ``act`` begins with a boot.

    ``gives_up``: the trial in slot 1 ends, and a trouble code reports it.
    """

    kind: Kind
    prepare: Callable[[BareEcu], None]
    act: Callable[[BareEcu], object]
    gives_up: bool = False


def _on_trial(ecu: BareEcu) -> None:
    ecu.boot()
    ecu.stage(Kind.FULL)
    ecu.activate()
    ecu.boot()


def _activated(ecu: BareEcu) -> None:
    ecu.boot()
    ecu.stage(Kind.FULL)


def _watchdog_due(ecu: BareEcu) -> None:
    _on_trial(ecu)
    ecu.end_trial()


def _activate_and_revert(ecu: BareEcu) -> None:
    ecu.boot()
    ecu.activate()
    ecu.revert()
    ecu.boot()


def _revert(ecu: BareEcu) -> None:
    ecu.boot()
    # After a cut the trial may be over already: the bootloader has given it up, or the first revert took effect.
    if ecu.firmware.on_trial:
        ecu.revert()
        ecu.boot()


def _boot_until_given_up(ecu: BareEcu) -> None:
    # One boot more than there are attempts: the last one finds no boots left and gives the trial up.
    for _ in range(ecu.facts.config.max_boot_attempts + 1):
        ecu.boot()


def _update(kind: Kind) -> Callable[[BareEcu], None]:
    def act(ecu: BareEcu) -> None:
        ecu.boot()
        ecu.update(kind)

    return act


SCRIPTS: Final[dict[Scenario, _Script]] = {
    Scenario.UPDATE_FULL: _Script(Kind.FULL, lambda _: None, _update(Kind.FULL)),
    Scenario.UPDATE_DELTA: _Script(Kind.DELTA, lambda _: None, _update(Kind.DELTA)),
    Scenario.UPDATE_ENCRYPTED: _Script(Kind.ENCRYPTED, lambda _: None, _update(Kind.ENCRYPTED)),
    Scenario.UPDATE_ENCRYPTED_DELTA: _Script(Kind.ENCRYPTED_DELTA, lambda _: None, _update(Kind.ENCRYPTED_DELTA)),
    Scenario.REVERT_TRIAL: _Script(Kind.FULL, _on_trial, _revert, gives_up=True),
    Scenario.REVERT_ACTIVATED: _Script(Kind.FULL, _activated, _activate_and_revert),
    Scenario.ROLLBACK_BY_WATCHDOG: _Script(Kind.FULL, _watchdog_due, BareEcu.boot, gives_up=True),
    Scenario.ROLLBACK_BY_BOOTS: _Script(Kind.FULL, _on_trial, _boot_until_given_up, gives_up=True),
}


def possible(update: Update) -> list[Scenario]:
    """Return the scenarios for which there is something to transfer."""
    return [scenario for scenario in Scenario if SCRIPTS[scenario].kind in update.transfers]


@dataclass(frozen=True)
class CutPoint:
    """One cut: at the n-th flash operation (from 1) of the act or of the recovery."""

    operation: int
    cut: Cut

    def __str__(self) -> str:
        return f"{self.cut}@{self.operation}"


@dataclass(frozen=True)
class Sequence:
    """A scenario with its cuts, as ``update-full:torn@37,garbage@4``."""

    scenario: Scenario
    cuts: tuple[CutPoint, ...]

    def __str__(self) -> str:
        return f"{self.scenario}:{','.join(str(cut) for cut in self.cuts)}"

    @classmethod
    def parse(cls, text: str) -> Sequence:
        """Read what ``str`` wrote.

        Raises:
            ValueError: not of that form.
        """
        try:
            scenario, _, rest = text.partition(":")
            pairs = [part.split("@") for part in rest.split(",")]
            return cls(Scenario(scenario), tuple(CutPoint(int(number), Cut(cut)) for cut, number in pairs))
        except ValueError as error:
            raise ValueError(
                f"sequence {text!r}: expected SCENARIO:CUT@OPERATION[,CUT@OPERATION], such as update-full:torn@37"
            ) from error


@dataclass(frozen=True)
class Violation:
    """A sequence of cuts after which one of the conditions does not hold. ``reason``: which one."""

    sequence: Sequence
    reason: str


@dataclass
class Tally:
    """The counts and violations of a sweep so far."""

    cut_points: int = 0
    second_cut_points: int = 0
    memories: int = 0
    """Different memories that the cuts have left, each judged once."""
    violations: list[Violation] = field(default_factory=list)


@dataclass(frozen=True)
class SecondCuts:
    """The operations of a recovery that are cut: all (None), or at most ``max_count`` of them, drawn by ``seed``."""

    max_count: int | None = None
    seed: int = 0

    def choose(self, sequence: Sequence, operations: int) -> frozenset[int]:
        """Return the numbers of the operations to be cut in a recovery that has about ``operations`` of them."""
        # A recovery may take more operations than the update itself; numbers that it does not reach are never visited.
        if self.max_count is None:
            return frozenset(range(1, 2 * operations + 1))
        # Seeded by the sequence as well, so that each recovery is cut at other places, and a sequence alone can be replayed.
        draw = random.Random(f"{self.seed}/{sequence}")
        return frozenset(draw.sample(range(1, operations + 1), min(self.max_count, operations)))


class Sweep:
    """All cuts of one scenario.

    Args:
        update: the update, with its ECU.
        scenario: the act that is swept.
        second: the second cuts that follow each first one.
        noise_seed: seed of the noise that garbage writes leave behind.
    """

    def __init__(self, update: Update, scenario: Scenario, *, second: SecondCuts, noise_seed: int = 0) -> None:
        self._update = update
        self._scenario = scenario
        self._script = SCRIPTS[scenario]
        self._second = second
        self._noise_seed = noise_seed
        # By the digest of the memory, because a sweep judges thousands of memories of a megabyte or two.
        self._verdicts: dict[bytes, str] = {}
        ready = self._ecu(update.factory_state())
        self._script.prepare(ready)
        self._start = bytes(ready.flash.memory)
        self.operations = _count(self._ecu(self._start), self._script.act)
        # An estimate: a recovery does about as much as the act itself, or as an update from the factory state.
        self._recovery_operations = max(self.operations, _count(self._ecu(update.factory_state()), self._recover))

    def run(self, cuts: Iterable[Cut] = CUTS, *, on_progress: Callable[[int, Tally], None] | None = None) -> Tally:
        """Cut at every operation. ``on_progress`` receives the number of operations done so far, of ``operations``."""
        tally, modes = Tally(), tuple(cuts)

        def visit(number: int, broken: Callable[[Cut], bytes]) -> None:
            for cut in modes:
                tally.cut_points += 1
                self._judge(broken(cut), Sequence(self._scenario, (CutPoint(number, cut),)), tally)
            tally.memories = len(self._verdicts)
            if on_progress is not None:
                on_progress(number, tally)

        with_points(self._ecu(self._start), self._script.act, visit, noise_seed=self._noise_seed)
        return tally

    def replay(self, sequence: Sequence) -> tuple[bytes, str]:
        """Return the memory after the cuts, each in the middle of the act itself, and what does not hold then ("": all holds).

        Raises:
            ValueError: a cut is beyond the last operation of what is cut.
        """
        ecu, act = self._ecu(self._start), self._script.act
        for point in sequence.cuts:
            first, where = ecu.flash.operations, point

            def hook(step: FlashOperation, first: int = first, where: CutPoint = where) -> Cut | None:
                return where.cut if step.number == first + where.operation else None

            ecu.flash.on_operation = hook
            # Without a cut the sequence was not replayed: its result would look like a success.
            try:
                act(ecu)
            except PowerLost:
                pass
            else:
                raise ValueError(f"{sequence}: there are fewer than {point.operation} operations to be cut")
            # RAM is lost with the power: only the memory goes on into a new ECU.
            ecu = self._ecu(bytes(ecu.flash.memory))
            act = self._recover
        memory = bytes(ecu.flash.memory)
        return memory, self._broken_promise(ecu)

    def _judge(self, memory: bytes, sequence: Sequence, tally: Tally) -> None:
        chosen = self._second.choose(sequence, self._recovery_operations)
        reason = self._verdict(memory)
        if reason:
            tally.violations.append(Violation(sequence, reason))
        # After a violation there is no recovery that could be cut.
        if not chosen or reason:
            return

        def visit(number: int, broken: Callable[[Cut], bytes]) -> None:
            for cut in CUTS:
                again = Sequence(sequence.scenario, (*sequence.cuts, CutPoint(number, cut)))
                self._judge_again(broken(cut), again, tally)

        with_points(self._ecu(memory), self._recover, visit, noise_seed=self._noise_seed, only=chosen)

    def _judge_again(self, memory: bytes, sequence: Sequence, tally: Tally) -> None:
        tally.second_cut_points += 1
        reason = self._verdict(memory)
        if reason:
            tally.violations.append(Violation(sequence, reason))

    def _verdict(self, memory: bytes) -> str:
        key = hashlib.sha256(memory).digest()
        if key not in self._verdicts:
            self._verdicts[key] = self._broken_promise(self._ecu(memory))
        return self._verdicts[key]

    def _broken_promise(self, ecu: BareEcu) -> str:
        """Return what does not hold when the ECU boots and is updated; "" if all holds."""
        # In the order of their weight: what comes later means nothing on an ECU that does not boot.
        try:
            outcome = ecu.boot()
            if outcome.slot is None or outcome.image is None:
                return "bricked: no slot boots"
            if str(outcome.image.version) not in (self._update.old_version, self._update.new_version):
                return f"it runs {outcome.image.version}, which is neither the old nor the new version"
            if any(note is BootNote.DEPENDENCY_NOT_MET for note, _, _ in outcome.notes):
                return "a slot has lost what was promised of the other ECUs' versions"
            # INVALID alone would also be a slot that is being programmed again, so that only some scripts can ask for the code.
            is_given_up = self._script.gives_up and ecu.state_of(_TRIAL_SLOT) is SlotState.INVALID
            if is_given_up and Dtc.ROLLED_BACK not in ecu.trouble_codes():
                return "the trial was given up, and P1602 is not stored"
            ecu.update(self._script.kind)
        except UpdateRefused as error:
            return f"the update does not succeed any more: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a violation, with the sequence that leads to it
            return f"{type(error).__name__}: {error}"
        return ""

    def _recover(self, ecu: BareEcu) -> None:
        ecu.boot()
        ecu.update(self._script.kind)

    def _ecu(self, memory: bytes) -> BareEcu:
        return BareEcu(self._update, memory, noise_seed=self._noise_seed)


def with_points(
    ecu: BareEcu,
    act: Callable[[BareEcu], object],
    visit: Callable[[int, Callable[[Cut], bytes]], None],
    *,
    noise_seed: int,
    only: frozenset[int] | None = None,
) -> None:
    """Run ``act``, and call ``visit(number, broken)`` for its flash operations (for those in ``only``, if given).

    ``broken(cut)`` returns the memory that a cut of that operation leaves. An operation is visited before the next one is done: only then
    the bytes that it was to write are known.
    """
    first = ecu.flash.operations
    last: tuple[FlashOperation, bytes] | None = None

    def visit_last() -> None:
        nonlocal last
        if last is None:
            return
        (operation, before), last = last, None
        # The operation is done by now: the memory holds what it was to write.
        wanted = bytes(ecu.flash.memory[operation.offset : operation.offset + operation.length])
        visit(operation.number - first, lambda cut: cut_operation(before, operation, wanted, cut, noise_seed))

    def hook(operation: FlashOperation) -> None:
        nonlocal last
        visit_last()
        # A copy of the whole memory for each operation: the price of judging flash alone, and the reason for a small layout in tests.
        if only is None or operation.number - first in only:
            last = (operation, bytes(ecu.flash.memory))

    ecu.flash.on_operation = hook
    act(ecu)
    ecu.flash.on_operation = None
    visit_last()


def cut_operation(before: bytes, operation: FlashOperation, wanted: bytes, cut: Cut, noise_seed: int) -> bytes:
    """Return the memory after a cut of ``operation``, which was to change its bytes to ``wanted``."""
    if cut is Cut.BEFORE:
        return before
    # By the flash's own rules, so that torn and garbage writes are described in one place.
    flash = NorFlash(bytearray(before), noise_seed=noise_seed)
    flash.on_operation = lambda _: cut
    try:
        if operation.kind is OperationKind.ERASE:
            flash.erase(operation.offset, operation.length)
        else:
            flash.program(operation.offset, wanted)
    except PowerLost:
        pass
    return bytes(flash.memory)


def _count(ecu: BareEcu, act: Callable[[BareEcu], object]) -> int:
    act(ecu)
    return ecu.flash.operations
