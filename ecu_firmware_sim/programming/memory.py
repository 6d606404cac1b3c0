"""The programmable memory of an ECU, and the operations on it while the ECU runs: erase, download, check, activate, confirm, revert.

No UDS here: refusals are ``NotNow`` (the state forbids it), ``OutOfRange`` (the address does) and ``NotAccepted`` (this ECU cannot do it).
Each operation checks first and acts then: ``permission`` checks the ECU's state, ``verification`` the contents of flash.

Rules:

* A slot is EMPTY once all of it is erased, INVALID while something is left in it.
* Programming starts on erased memory. From the first byte until check memory passes, the slot is INVALID.
* The versions of other ECUs on which a STAGED image depends are kept with its slot, and stay with it whatever Targets come later.
* A STAGED slot is tried only if its image's dependencies are met (``boot.dependencies``).
* The minimum security counter rises when an image is confirmed, not earlier, so that the other image stays bootable until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otabench.ecu_firmware_sim.boot import dependencies
from otabench.ecu_firmware_sim.boot.bootloader import Bootloader
from otabench.ecu_firmware_sim.boot.image import CheckStatus, ImageRefused
from otabench.ecu_firmware_sim.boot.manifest import ManifestRefused
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SECTOR_BYTES, SLOT_WINDOW
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.programming.decryption import DecryptingDownload
from otabench.ecu_firmware_sim.programming.download import (
    Download,
    DownloadFormat,
    MetadataDownload,
    PatchDownload,
    RawDownload,
)
from otabench.ecu_firmware_sim.programming.permission import NotNow, OutOfRange, Situation
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.ecu_firmware_sim.programming.verification import ProgrammingPolicy, Verification
from otabench.proto.image_format import Image

PRECONDITION_TRIAL_NOT_CONFIRMED: Final = 0x04


@dataclass(frozen=True)
class SlotEntry:
    """One slot as DID F1A1 reports it."""

    state: SlotState
    image: Image | None


@dataclass(frozen=True)
class CheckResult:
    """The result of check memory, as a status and in words."""

    status: CheckStatus
    text: str


class FirmwareMemory:
    """Slots and metadata window of a running ECU.

    Args:
        storage: the flash and the loaded records.
        policy: what is fixed for this ECU.
        bootloader: verifies images as it does at a boot.
        running: the slot that runs; None in the bootloader.
        metadata_changed: called after the metadata window was erased, and after a transfer to it has ended. It may be called on the
            thread of a pending operation.
    """

    def __init__(
        self,
        storage: Storage,
        policy: ProgrammingPolicy,
        bootloader: Bootloader,
        *,
        running: int | None,
        metadata_changed: Callable[[], None],
    ) -> None:
        self.running = running
        self._storage = storage
        self._policy = policy
        self._boot_control = storage.boot_control
        self._verification = Verification(storage, policy, bootloader)
        self._metadata_changed = metadata_changed
        # In RAM only: after a reset check memory finds no complete image in the slot, and refuses it for that reason.
        self._refused: ImageRefused | None = None

    @property
    def flash(self) -> NorFlash:
        return self._storage.flash

    @property
    def active(self) -> int:
        """See ``Situation.active``."""
        return self._situation.active

    @property
    def boots_left(self) -> int:
        """The remaining boots of a trial; 0 without a trial."""
        control = self._boot_control.current
        return control.boots_left if control.trial is not None else 0

    @property
    def on_trial(self) -> bool:
        """Whether the running slot is not yet confirmed."""
        return self._situation.on_trial

    def running_image(self) -> tuple[SlotState, memoryview] | None:
        """Return the state of the running slot and its image, in place; None if none runs. Nothing is verified: the boot has done that."""
        if self.running is None:
            return None
        return self._boot_control.current.states[self.running], self._verification.base_of_patch(self.running)

    def slot_table(self) -> tuple[SlotEntry, SlotEntry]:
        """Return both slots. ``image`` is read from the header, and nothing of it is verified here."""
        states, image = self._boot_control.current.states, self._verification.readable_image
        return SlotEntry(states[0], image(0)), SlotEntry(states[1], image(1))

    @property
    def root_version(self) -> int:
        """The version of the newest Director's Root that this ECU keeps."""
        return self._verification.root_version

    def new_nonce(self) -> bytes:
        """Return a nonce, for which the tester may bring a time attestation in the metadata window."""
        return self._verification.new_nonce()

    def check_erase(self, address: int, length: int) -> None:
        """Raise OutOfRange or NotNow, unless ``erase`` is allowed."""
        self._situation.require_erasable(address, length)

    def erase(self, address: int, length: int) -> None:
        """Erase within the slot window or the metadata window, whole sectors (the length is rounded up).

        Raises:
            OutOfRange: outside the windows, or not at the start of a sector.
            NotNow: the inactive slot must not be touched now.
            PowerLost: power went; the slot is INVALID.
        """
        self.check_erase(address, length)
        situation, layout = self._situation, self._storage.layout
        offset, length = situation.offset_of(address, length), -(-length // SECTOR_BYTES) * SECTOR_BYTES
        # The metadata window has no state: what it holds is verified whenever it is used.
        if address >= METADATA_WINDOW:
            self.flash.erase(offset, length)
            self._metadata_changed()
            return
        target = situation.target
        self._refused = None
        # INVALID before the first sector goes: after a power cut in between, no state claims that the slot is whole.
        self._boot_control.apply(target, SlotEvent.ERASE_STARTED)
        self.flash.erase(offset, length)
        if self.flash.is_erased(layout.slot_offset(target), layout.slot_bytes):
            self._boot_control.apply(target, SlotEvent.ERASE_DONE)

    def check_download(self, address: int, size: int, download_format: DownloadFormat) -> None:
        """Raise OutOfRange, NotNow or NotAccepted, unless ``begin_download`` is allowed."""
        situation = self._situation
        offset = situation.offset_of(address, size)
        is_patch, is_encrypted = download_format.is_patch, download_format.is_encrypted
        # A patch builds a whole image, and Targets are one document: neither can start within its window.
        if not size or (is_patch and address != SLOT_WINDOW) or address > METADATA_WINDOW:
            raise OutOfRange(f"download of {size} bytes to 0x{address:X}")
        if is_encrypted and (self._policy.decryption_key is None or address >= METADATA_WINDOW):
            raise OutOfRange("there is no key to decrypt with, or metadata, which is never encrypted")
        if address >= METADATA_WINDOW:
            return
        situation.require_free_target()
        situation.require_event(SlotEvent.DOWNLOAD_STARTED)
        if not self.flash.is_erased(offset, size):
            raise NotNow("the memory is not erased")
        if is_patch:
            self._verification.require_patch(self.running)

    def begin_download(self, address: int, size: int, download_format: DownloadFormat) -> Download:
        """Start a download that ``check_download`` allows. Raises PowerLost."""
        offset = self._situation.offset_of(address, size)
        if address >= METADATA_WINDOW:
            window_bytes = self._storage.layout.metadata_bytes
            return MetadataDownload(self.flash, offset, size, window_bytes=window_bytes, changed=self._metadata_changed)
        download = self._plain_download(offset, size, is_patch=download_format.is_patch)
        self._refused = None
        self._boot_control.apply(self._situation.target, SlotEvent.DOWNLOAD_STARTED)
        key = self._policy.decryption_key
        if not download_format.is_encrypted or key is None:
            return download
        # 34 announces the size of the image, not that of a patch, whose length can therefore not be compared.
        return DecryptingDownload(download, key, plaintext_bytes=None if download_format.is_patch else size)

    def _plain_download(self, offset: int, size: int, *, is_patch: bool) -> Download:
        if not is_patch:
            return RawDownload(self.flash, offset, size)
        facts, base = self._verification.require_patch(self.running), self._verification.base_of_patch(self.active)
        return PatchDownload(self.flash, offset, size, base=base, facts=facts, ram_bytes=self._policy.ram_bytes)

    def refuse_download(self, status: CheckStatus, text: str) -> None:
        """Remember for check memory why what was downloaded is not an image (PATCH_REFUSED, DECRYPTION_FAILED)."""
        self._refused = ImageRefused(status, text)

    def check(self) -> CheckResult:
        """Check memory: partial verification of the Targets, then of the slot's image against them.

        Raises:
            NotNow: the slot table does not allow it.
            PowerLost: power went; the slot is STAGED or what it was.
        """
        situation = self._situation
        # EMPTY is left as it is: after a refused 34, nothing was programmed, and the slot table has no event for that.
        if situation.target_state is SlotState.EMPTY:
            refused = self._refused
            return CheckResult(CheckStatus.NO_IMAGE, "the slot is empty") if refused is None else _result(refused)
        situation.require_event(SlotEvent.CHECK_PASSED)
        kept: dict[str, object] = {}
        try:
            kept = self._verification.trust_to_keep()
            # A patch or an artifact that was refused has left a part of an image, whose own check would hide the reason.
            if self._refused is not None:
                raise self._refused
            entry, image = self._verification.require_named(situation.target)
        except (ManifestRefused, ImageRefused) as error:
            # Whatever becomes of the image: a revoked key must not count again, nor an earlier time (TUF 1.0, 5.3.8).
            # An image that is cut short is an interruption, not an attack.
            if error.status is not CheckStatus.NO_IMAGE:
                kept["attack"] = error.status.name
            self._storage.nvm.update(**kept)
            self._boot_control.apply(situation.target, SlotEvent.CHECK_FAILED)
            return _result(error)
        # The version is stored before the slot is STAGED: cut in between, older Targets are refused and the check can be repeated.
        kept |= {"manifest_version": entry.manifest_version, "job_id": entry.job_id, "attack": ""}
        self._storage.nvm.update(**kept)
        promised = dependencies.kept(image, entry.vehicle_versions)
        self._boot_control.apply(situation.target, SlotEvent.CHECK_PASSED, promised=promised)
        return CheckResult(CheckStatus.CORRECT, f"{entry.custom.version} for job {entry.job_id}")

    def unmet_dependency(self) -> str:
        """Return the dependency of the image to boot next that is not met, in words; "" if all are met.

        Raises:
            NotNow: no image waits for a boot.
        """
        situation = self._situation
        waiting = self._verification.readable_image(situation.target)
        if waiting is None or situation.target_state not in (SlotState.STAGED, SlotState.TRIAL):
            raise NotNow("no slot waits to be booted")
        running = None if self.running is None else self._verification.readable_image(self.running)
        own = None if running is None else running.version
        return dependencies.unmet(waiting, situation.target_promises, own=own)

    def unmet_preconditions(self) -> list[int]:
        """Return the codes of routine 0203 that depend on the memory; those of the vehicle are in ``uds.conditions``."""
        return [PRECONDITION_TRIAL_NOT_CONFIRMED] if self.on_trial else []

    def activate(self) -> None:
        """Let the next reset try the STAGED slot. Raises NotNow, PowerLost."""
        situation = self._situation
        situation.require_free_target()
        situation.require_event(SlotEvent.ACTIVATED)
        if unmet := self.unmet_dependency():
            raise NotNow(unmet)
        boots_left = self._policy.boot.max_boot_attempts
        self._boot_control.apply(situation.target, SlotEvent.ACTIVATED, boots_left=boots_left)

    def confirm(self) -> None:
        """Confirm the running trial; older images are refused from now on. Raises NotNow, PowerLost."""
        running = self.running
        image = None if running is None else self._verification.readable_image(running)
        if running is None or image is None or not self.on_trial:
            raise NotNow("no trial is running")
        control = self._boot_control.current
        # ``max``, because the minimum must never fall: it is what refuses a downgrade.
        counter = max(control.minimum_security_counter, image.security_counter or 0)
        self._boot_control.apply(
            running, SlotEvent.CONFIRMED, preferred=running, boots_left=0, minimum_security_counter=counter
        )

    def revert(self, *, before_leaving: Callable[[str], None]) -> None:
        """Leave the trial (running or only activated), or the running slot, for the other CONFIRMED slot at the next reset.

        Where there is none, a running trial is left for the bootloader, from which the ECU was rescued.

        Args:
            before_leaving: called with what is about to be left, so that a power cut between the two loses nothing.

        Raises:
            NotNow: there is nothing to leave, or the other slot may not be booted.
            PowerLost: power went.
        """
        situation = self._situation
        running, target = situation.running, situation.target
        if running is None:
            raise NotNow("nothing runs")
        # Only activated: the trial has not begun, and its image may be activated again.
        if situation.target_state is SlotState.TRIAL:
            self._boot_control.apply(target, SlotEvent.ACTIVATION_CANCELED, boots_left=0)
            return
        if situation.target_state is SlotState.CONFIRMED:
            self._require_way_back(situation)
        elif not situation.on_trial:
            raise NotNow("the other slot is not CONFIRMED")
        # A repeated revert changes nothing, and must not report a second one.
        if situation.on_trial or situation.control.preferred == running:
            before_leaving(f"slot {running} was left by the tester (31 01 0212)")
        if situation.on_trial:
            self._boot_control.apply(running, SlotEvent.REVERTED, preferred=target, boots_left=0)
            return
        self._boot_control.prefer(target)

    def end_trial(self) -> None:
        """Set the remaining boots of the running trial to 0, as the watchdog does. Raises PowerLost."""
        self._boot_control.forfeit_trial()

    @property
    def _situation(self) -> Situation:
        """The present state. Read it again after each change of boot control."""
        return Situation(self._boot_control.current, self.running, self._storage.layout)

    def _require_way_back(self, situation: Situation) -> None:
        try:
            image = self._verification.require_bootable(situation.target)
        except ImageRefused as error:
            raise NotNow(f"the other slot may not be booted: {error}") from error
        unmet = dependencies.unmet(image, situation.target_promises)
        # A trial may be left all the same: its slot becomes INVALID, and the bootloader boots the other one as the last resort.
        if unmet and not situation.on_trial:
            raise NotNow(f"the other slot would not be booted: {unmet}")


def _result(refused: ManifestRefused | ImageRefused) -> CheckResult:
    return CheckResult(refused.status, str(refused))
