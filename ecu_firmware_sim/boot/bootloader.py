"""The bootloader: the first program after a reset.

Flash contents and pinned facts alone determine which slot is booted. Rules:

* A slot on TRIAL is tried while it has boots left and its image verifies. Each try is counted before it is made. Without boots left, or
  if it does not verify, it becomes INVALID.
* Otherwise the preferred CONFIRMED slot is booted if it verifies. If it does not, the other CONFIRMED slot is booted, and becomes the
  preferred one.
* An image that fails verification makes its slot INVALID.
* Dependencies are judged by the versions that were promised when the slot was staged. A trial with an unmet dependency becomes INVALID.
  A CONFIRMED image with an unmet dependency (its promises were lost, or the factory gave none) is booted only if no other image may
  run: a dependency chooses between images and never leaves an ECU without the one that it has.
* A note is reported before boot control is written: a power cut between the two reports it twice, and never hides it.
* If nothing may run, the ECU stays in the bootloader, where it can be programmed.
* If neither copy of boot control is readable (no power cut can do that), the slots are judged by their contents. Of two images that
  may run, the one with the lower security counter (then the lower version) becomes the CONFIRMED one: updates only go up, so that the
  other one may never have been confirmed. That one becomes INVALID, and images older than the running one are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.ecu_firmware_sim.boot import dependencies, image
from otabench.ecu_firmware_sim.boot.boot_control import BootControl, BootControlStore
from otabench.ecu_firmware_sim.boot.image import ImageRefused
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.proto.image_format import Image

VERSION = "otabench-boot 1.0.0"


class BootNote(StrEnum):
    """An event that the bootloader may note before it starts an image."""

    VERIFICATION_FAILED = "verification failed"
    TRIAL_FAILED = "trial failed"
    DEPENDENCY_NOT_MET = "dependency not met"
    BOOT_CONTROL_LOST = "boot control lost"


NoteListener = Callable[[BootNote, int, str], None]
"""Called with a note, its slot and the reason; may raise PowerLost."""


@dataclass(frozen=True)
class BootOutcome:
    """The slot and the image that run now; both None in the bootloader.

    Attributes:
        notes: each with its slot and the reason.
        rolled_back_from: the slot whose trial ended with this boot.
    """

    slot: int | None
    image: Image | None
    notes: tuple[tuple[BootNote, int, str], ...]
    rolled_back_from: int | None = None


@dataclass(frozen=True)
class BootPolicy:
    """The facts that are burnt into the bootloader."""

    public_key: Ed25519PublicKey
    hardware_id: str
    max_boot_attempts: int = 3


class Bootloader:
    """The bootloader of one ECU, over its flash."""

    def __init__(
        self, flash: NorFlash, layout: FlashLayout, boot_control: BootControlStore, policy: BootPolicy
    ) -> None:
        self._flash = flash
        self._layout = layout
        self._boot_control = boot_control
        self._policy = policy
        self._notes: list[tuple[BootNote, int, str]] = []
        self._listener: NoteListener | None = None

    def boot(self, listener: NoteListener | None = None) -> BootOutcome:
        """Return what runs from now on. Raises PowerLost, from which another boot recovers."""
        self._notes = []
        self._listener = listener
        # Loading repairs a copy that a power cut has torn, before anything else is written.
        control = self._boot_control.load() or self._recover()
        slot, running = self._boot_trial(control)
        if running is None:
            slot, running = self._boot_confirmed(self._boot_control.current)
        rolled_back_from = control.trial if slot != control.trial else None
        return BootOutcome(slot, running, tuple(self._notes), rolled_back_from)

    def verify(self, slot: int, *, minimum_security_counter: int) -> Image:
        """Return the image of a slot, which may run. Raises ImageRefused, PowerLost."""
        return image.check(
            self._flash.view(self._layout.slot_offset(slot), self._layout.slot_bytes),
            public_key=self._policy.public_key,
            hardware_id=self._policy.hardware_id,
            minimum_security_counter=minimum_security_counter,
        )

    def _boot_trial(self, control: BootControl) -> tuple[int | None, Image | None]:
        slot = control.trial
        if slot is None:
            return None, None
        # All ends of a trial come through here: the watchdog, too, only takes its boots away.
        if control.boots_left == 0:
            self._note(BootNote.TRIAL_FAILED, slot, "not confirmed within its boots or time")
            self._boot_control.apply(slot, SlotEvent.TRIAL_FAILED)
            return None, None
        running = self._verified(slot, control)
        if running is None:
            return None, None
        if not self._is_met(slot, running, control):
            self._boot_control.apply(slot, SlotEvent.VERIFICATION_FAILED)
            return None, None
        # Counted before the image runs: one that crashes the ECU at once must use up its boots as well.
        self._boot_control.commit(replace(control, boots_left=control.boots_left - 1))
        return slot, running

    def _boot_confirmed(self, control: BootControl) -> tuple[int | None, Image | None]:
        last_resort: tuple[int, Image] | None = None
        # ``control`` is not read again in the loop: ``_verified`` may change the state of the slot that it was called for, only.
        for slot in (control.preferred, 1 - control.preferred):
            if control.states[slot] is not SlotState.CONFIRMED:
                continue
            running = self._verified(slot, control)
            if running is None:
                continue
            if self._is_met(slot, running, control):
                # A change only where the preferred slot did not boot; ``commit`` does not write what is there already.
                self._boot_control.prefer(slot)
                return slot, running
            last_resort = last_resort or (slot, running)
        if last_resort is None:
            return None, None
        self._boot_control.prefer(last_resort[0])
        return last_resort

    def _verified(self, slot: int, control: BootControl) -> Image | None:
        try:
            return self.verify(slot, minimum_security_counter=control.minimum_security_counter)
        except ImageRefused as error:
            self._note(BootNote.VERIFICATION_FAILED, slot, str(error))
            self._boot_control.apply(slot, SlotEvent.VERIFICATION_FAILED)
            return None

    def _is_met(self, slot: int, running: Image, control: BootControl) -> bool:
        unmet = dependencies.unmet(running, control.promised[slot])
        if unmet:
            self._note(BootNote.DEPENDENCY_NOT_MET, slot, unmet)
        return not unmet

    def _note(self, note: BootNote, slot: int, text: str) -> None:
        self._notes.append((note, slot, text))
        if self._listener is not None:
            self._listener(note, slot, text)

    def _recover(self) -> BootControl:
        found: list[Image | None] = []
        for slot in (0, 1):
            try:
                # The minimum is lost with the record: what is left to judge by is the signature.
                found.append(self.verify(slot, minimum_security_counter=0))
            except ImageRefused:
                found.append(None)
        ages = {
            # The promises are lost, too: of two images of the same age, the one without dependencies is preferred.
            slot: (seen.security_counter or 0, bool(dependencies.unmet(seen, ())), seen.version)
            for slot, seen in enumerate(found)
            if seen is not None
        }
        oldest = min(ages, key=ages.__getitem__, default=0)
        states = [SlotState.INVALID, SlotState.INVALID]
        if ages:
            states[oldest] = SlotState.CONFIRMED
        self._note(BootNote.BOOT_CONTROL_LOST, oldest, "neither boot control record was readable")
        minimum = ages[oldest][0] if ages else 0
        control = BootControl((states[0], states[1]), oldest, minimum_security_counter=minimum)
        self._boot_control.commit(control)
        return control
