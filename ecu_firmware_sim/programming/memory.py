"""The programmable memory of an ECU and what may be done with it while the ECU runs.

Which slot may be erased, programmed, checked, activated, confirmed or left; the slot table has the states in which it may. No UDS here:
refusals are ``NotNow`` (the state forbids it), ``OutOfRange`` (the address does) and ``NotAccepted`` (it cannot be done).

Rules:

* Only the slot that does not run can be erased or programmed, and only while the running one is CONFIRMED and will be booted
  again: there is always an image to fall back to.
* A slot is EMPTY once all of it is erased, INVALID while something is left in it.
* Programming starts on erased memory. From the first byte until check memory passed, the slot is INVALID.
* A patch is taken only if verified Targets name it, and the running image as its base: BSDIFF40 names none itself.
* A slot becomes STAGED only if its image is the one that verified Targets name for this ECU and may run here.
* What of the Targets' promises the image depends on is kept with its slot, and stays with it whatever Targets come later.
* A STAGED slot is tried only if its image's dependencies are met (``dependencies``).
* The minimum security counter rises when an image is confirmed, so that the other one stays bootable until then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nacl.public import PrivateKey
from tuf.api._payload import Root

from otabench.ecu_firmware_sim.boot import dependencies, manifest
from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore
from otabench.ecu_firmware_sim.boot.bootloader import Bootloader
from otabench.ecu_firmware_sim.boot.image import CheckStatus, ImageRefused
from otabench.ecu_firmware_sim.boot.manifest import ManifestEntry, ManifestRefused
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState, is_allowed
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SECTOR_BYTES, SLOT_WINDOW, FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import NvmStore
from otabench.ecu_firmware_sim.programming import delta
from otabench.ecu_firmware_sim.programming.decryption import DecryptingDownload
from otabench.ecu_firmware_sim.programming.download import Download, MetadataDownload, PatchDownload, RawDownload
from otabench.proto import image_format
from otabench.proto.image_format import Image, ImageFormatError
from otabench.proto.uptane import PatchCustom

_TAIL_BYTES: Final = 16
"""An image ends in a signature: as many erased bytes at its end mean that they never came."""
PRECONDITION_TRIAL_NOT_CONFIRMED: Final = 0x04


class NotNow(Exception):
    """The ECU's state does not allow it."""


class OutOfRange(Exception):
    """The address or length is outside what may be touched."""


class NotAccepted(Exception):
    """The download is in order, and this ECU cannot do it."""


@dataclass(frozen=True)
class SlotInfo:
    """One slot as DID F1A1 shows it."""

    state: SlotState
    image: Image | None


@dataclass(frozen=True)
class CheckResult:
    """What check memory found; ``text`` says it in words."""

    status: CheckStatus
    text: str


class FirmwareMemory:
    """Slots and metadata window of a running ECU.

    Args:
        running: the slot that runs; None in the bootloader.
        decryption_key: opens encrypted downloads; None: this ECU takes none.
    """

    def __init__(
        self,
        flash: NorFlash,
        layout: FlashLayout,
        *,
        boot_control: BootControlStore,
        bootloader: Bootloader,
        nvm: NvmStore,
        root: Root,
        hardware_id: str,
        max_boot_attempts: int,
        ram_bytes: int,
        running: int | None,
        decryption_key: PrivateKey | None = None,
    ) -> None:
        self.flash = flash
        self.layout = layout
        self.running = running
        self._boot_control = boot_control
        self._bootloader = bootloader
        self._nvm = nvm
        self._root = root
        self._hardware_id = hardware_id
        self._max_boot_attempts = max_boot_attempts
        self._ram_bytes = ram_bytes
        self._decryption_key = decryption_key
        self._refused: ImageRefused | None = None

    @property
    def active(self) -> int:
        """The running slot; in the bootloader the one that should have run."""
        return self._boot_control.current.preferred if self.running is None else self.running

    @property
    def target(self) -> int:
        """The slot behind the slot window."""
        return 1 - self.active

    @property
    def boots_left(self) -> int:
        control = self._boot_control.current
        return control.boots_left if control.trial is not None else 0

    @property
    def on_trial(self) -> bool:
        """Whether the running slot is not yet confirmed."""
        return self.running is not None and self._state(self.running) is SlotState.TRIAL

    def slot_table(self) -> tuple[SlotInfo, SlotInfo]:
        """Return both slots; ``image`` is what a readable header says, nothing of it verified here."""
        return SlotInfo(self._state(0), self._readable(0)), SlotInfo(self._state(1), self._readable(1))

    def erase(self, address: int, length: int) -> None:
        """Erase within the slot window or the metadata window, whole sectors (the length is rounded up).

        Raises:
            OutOfRange: outside the windows, or not at the start of a sector.
            NotNow: the other slot must not be touched now.
            PowerLost: power went; the slot is INVALID.
        """
        self.check_erase(address, length)
        offset = self._resolve(address, length)
        length = -(-length // SECTOR_BYTES) * SECTOR_BYTES
        if address >= METADATA_WINDOW:
            self.flash.erase(offset, length)
            return
        self._refused = None
        self._boot_control.apply(self.target, SlotEvent.ERASE_STARTED)
        self.flash.erase(offset, length)
        if self.flash.is_erased(self.layout.slot_offset(self.target), self.layout.slot_bytes):
            self._boot_control.apply(self.target, SlotEvent.ERASE_DONE)

    def check_erase(self, address: int, length: int) -> None:
        """Whether ``erase`` would be allowed. Raises OutOfRange, NotNow."""
        self._resolve(address, length)
        if address % SECTOR_BYTES or not length:
            raise OutOfRange(f"erase of 0x{length:X} bytes at 0x{address:X}")
        if address < METADATA_WINDOW:
            self._need_free_target()
            self._need_event(SlotEvent.ERASE_STARTED)

    def check_download(self, address: int, size: int, *, is_patch: bool, is_encrypted: bool = False) -> None:
        """Whether ``begin_download`` would be allowed. Raises OutOfRange, NotNow, NotAccepted."""
        offset = self._resolve(address, size)
        if not size or (is_patch and address != SLOT_WINDOW) or address > METADATA_WINDOW:
            raise OutOfRange(f"download of {size} bytes to 0x{address:X}")
        if is_encrypted and (self._decryption_key is None or address >= METADATA_WINDOW):
            raise OutOfRange("there is no key to decrypt with, or metadata, which is never encrypted")
        if address >= METADATA_WINDOW:
            return
        self._need_free_target()
        self._need_event(SlotEvent.DOWNLOAD_STARTED)
        if not self.flash.is_erased(offset, size):
            raise NotNow("the memory is not erased")
        if is_patch:
            self._patch_facts()

    def begin_download(self, address: int, size: int, *, is_patch: bool, is_encrypted: bool = False) -> Download:
        """Start a download that ``check_download`` allows. Raises PowerLost."""
        offset = self._resolve(address, size)
        if address >= METADATA_WINDOW:
            return MetadataDownload(self.flash, offset, size, window_bytes=self.layout.metadata_bytes)
        download: Download = RawDownload(self.flash, offset, size)
        if is_patch:
            facts, base = self._patch_facts(), self._base()
            download = PatchDownload(self.flash, offset, size, base=base, facts=facts, ram_bytes=self._ram_bytes)
        self._refused = None
        self._boot_control.apply(self.target, SlotEvent.DOWNLOAD_STARTED)
        if not is_encrypted or self._decryption_key is None:
            return download
        return DecryptingDownload(download, self._decryption_key, plaintext_bytes=None if is_patch else size)

    def refuse_download(self, status: CheckStatus, text: str) -> None:
        """Remember for check memory why what was downloaded is not an image (PATCH_REFUSED, DECRYPTION_FAILED)."""
        self._refused = ImageRefused(status, text)

    def check(self) -> CheckResult:
        """Check memory: partial verification of the Targets, then of the slot's image against them.

        Raises:
            NotNow: the slot table does not allow it.
            PowerLost: power went; the slot is STAGED or what it was.
        """
        state = self._state(self.target)
        if state is SlotState.EMPTY:
            refused = self._refused
            return CheckResult(CheckStatus.NO_IMAGE, "the slot is empty") if refused is None else _result(refused)
        self._need_event(SlotEvent.CHECK_PASSED)
        try:
            entry, image = self._judge()
        except (ManifestRefused, ImageRefused) as error:
            self._boot_control.apply(self.target, SlotEvent.CHECK_FAILED)
            return _result(error)
        self._nvm.update(manifest_version=entry.manifest_version, job_id=entry.job_id)
        promised = dependencies.kept(image, entry.vehicle_versions)
        self._boot_control.apply(self.target, SlotEvent.CHECK_PASSED, promised=promised)
        return CheckResult(CheckStatus.CORRECT, f"{entry.custom.version} for job {entry.job_id}")

    def unmet_dependency(self) -> str:
        """Return which dependency of the image that waits to be booted is not met, in words; "" where all are.

        Raises:
            NotNow: no slot waits to be booted.
        """
        waiting = self._readable(self.target)
        if waiting is None or self._state(self.target) not in (SlotState.STAGED, SlotState.TRIAL):
            raise NotNow("no slot waits to be booted")
        running = None if self.running is None else self._readable(self.running)
        own = None if running is None else running.version
        return dependencies.unmet(waiting, self._promised(self.target), own=own)

    def unmet_preconditions(self) -> list[int]:
        """Return the codes of routine 0203 that the memory knows; those of the vehicle are ``uds.conditions``'."""
        return [PRECONDITION_TRIAL_NOT_CONFIRMED] if self.on_trial else []

    def activate(self) -> None:
        """Make the STAGED slot the one that is tried at the next reset. Raises NotNow, PowerLost."""
        self._need_free_target()
        self._need_event(SlotEvent.ACTIVATED)
        if lacking := self.unmet_dependency():
            raise NotNow(lacking)
        self._boot_control.apply(self.target, SlotEvent.ACTIVATED, boots_left=self._max_boot_attempts)

    def confirm(self) -> None:
        """Confirm the running trial; older images are refused from now on. Raises NotNow, PowerLost."""
        running = self.running
        image = None if running is None else self._readable(running)
        if running is None or image is None or not self.on_trial:
            raise NotNow("no trial is running")
        control = self._boot_control.current
        counter = max(control.minimum_security_counter, image.security_counter or 0)
        self._boot_control.apply(
            running, SlotEvent.CONFIRMED, preferred=running, boots_left=0, minimum_security_counter=counter
        )

    def revert(self, *, tell: Callable[[str], None]) -> None:
        """Leave the trial (running or only activated), or the running slot, for the other CONFIRMED slot at the next reset.

        Where there is none, a running trial is left for the bootloader, from which the ECU was rescued.

        Args:
            tell: called with what is left before it is, so that a power cut between the two loses nothing.

        Raises:
            NotNow: there is nothing to leave, or the other slot may not be booted.
            PowerLost: power went.
        """
        if self.running is None:
            raise NotNow("nothing runs")
        if self._state(self.target) is SlotState.TRIAL:
            self._boot_control.apply(self.target, SlotEvent.ACTIVATION_CANCELED, boots_left=0)
            return
        if self._state(self.target) is SlotState.CONFIRMED:
            self._need_bootable(self.target)
        elif not self.on_trial:
            raise NotNow("the other slot is not CONFIRMED")
        if self.on_trial or self._boot_control.current.preferred == self.running:
            tell(f"slot {self.running} was left by the tester (31 01 0212)")
        if self.on_trial:
            self._boot_control.apply(self.running, SlotEvent.REVERTED, preferred=self.target, boots_left=0)
            return
        self._boot_control.prefer(self.target)

    def end_trial(self) -> None:
        """The watchdog: the running trial has no boots left. Raises PowerLost."""
        self._boot_control.forfeit_trial()

    def _judge(self) -> tuple[ManifestEntry, Image]:
        if self._refused is not None:
            raise self._refused
        entry = self._entry()
        offset = self.layout.slot_offset(self.target)
        if entry.length > self.layout.slot_bytes:
            raise ImageRefused(CheckStatus.NO_IMAGE, f"the image's {entry.length} bytes exceed the slot")
        if self._readable(self.target) is None or self._is_cut_short(offset, entry.length):
            raise ImageRefused(CheckStatus.NO_IMAGE, "the slot holds no complete image")
        if hashlib.sha256(self.flash.view(offset, entry.length)).hexdigest() != entry.sha256:
            raise ImageRefused(CheckStatus.DIGEST_DIFFERS, "the image's SHA-256 differs from the manifest's")
        minimum = self._boot_control.current.minimum_security_counter
        image = self._bootloader.verify(self.target, minimum_security_counter=minimum)
        if image.total_size > entry.length:
            raise ImageRefused(CheckStatus.DIGEST_DIFFERS, "the image is longer than the manifest says")
        return entry, image

    def _is_cut_short(self, offset: int, length: int) -> bool:
        tail = min(length, _TAIL_BYTES)
        return self.flash.is_erased(offset + length - tail, tail)

    def _entry(self) -> ManifestEntry:
        data = self.flash.read(self.layout.metadata_offset, self.layout.metadata_bytes).rstrip(b"\xff")
        stored = self._nvm.current
        return manifest.accept(
            data,
            root=self._root,
            vin=stored.vin,
            serial=stored.serial,
            hardware_id=self._hardware_id,
            last_accepted_version=stored.manifest_version,
        )

    def _patch_facts(self) -> PatchCustom:
        """Return what verified Targets say of the patch. Raises NotAccepted."""
        if self.running is None:
            raise NotAccepted("a patch, and there is no running image to patch")
        try:
            facts = self._entry().custom.patch
        except ManifestRefused as error:
            raise NotAccepted(f"a patch, and no verified Targets name its base: {error}") from error
        if facts is None:
            raise NotAccepted("a patch, and the Targets name none, and so no base for it")
        base = self._base()
        if len(base) != facts.base_length or hashlib.sha256(base).hexdigest() != facts.base_sha256:
            raise NotAccepted("the patch's base is not the running image")
        if facts.length > delta.most_patch_bytes(self._ram_bytes):
            raise NotAccepted(f"the patch's {facts.length} bytes do not fit into {self._ram_bytes} bytes of RAM")
        return facts

    def _base(self) -> memoryview:
        image = self._readable(self.active)
        return self.flash.view(self.layout.slot_offset(self.active), 0 if image is None else image.total_size)

    def _state(self, slot: int) -> SlotState:
        return self._boot_control.current.states[slot]

    def _promised(self, slot: int) -> dependencies.Versions:
        return self._boot_control.current.promised[slot]

    def _readable(self, slot: int) -> Image | None:
        try:
            return image_format.parse(self.flash.view(self.layout.slot_offset(slot), self.layout.slot_bytes))
        except ImageFormatError:
            return None

    def _need_event(self, event: SlotEvent) -> None:
        state = self._state(self.target)
        if not is_allowed(state, event):
            raise NotNow(f"slot {self.target} is {state.name}")

    def _need_free_target(self) -> None:
        if self.running is None:
            return
        if self.on_trial:
            raise NotNow("the running image is on trial: the other slot is its way back")
        if self._boot_control.current.preferred != self.running:
            raise NotNow("the other slot is booted at the next reset")

    def _need_bootable(self, slot: int) -> None:
        minimum = self._boot_control.current.minimum_security_counter
        try:
            image = self._bootloader.verify(slot, minimum_security_counter=minimum)
        except ImageRefused as error:
            raise NotNow(f"the other slot may not be booted: {error}") from error
        lacking = dependencies.unmet(image, self._promised(slot))
        if lacking and not self.on_trial:  # else the bootloader takes it, as there is no other
            raise NotNow(f"the other slot would not be booted: {lacking}")

    def _resolve(self, address: int, length: int) -> int:
        slot, window = self.layout.slot_offset(self.target), self.layout.slot_bytes
        if address >= SLOT_WINDOW and address + length <= SLOT_WINDOW + window:
            return slot + address - SLOT_WINDOW
        if address >= METADATA_WINDOW and address + length <= METADATA_WINDOW + self.layout.metadata_bytes:
            return self.layout.metadata_offset + address - METADATA_WINDOW
        raise OutOfRange(f"0x{length:X} bytes at 0x{address:X} are outside the windows")


def _result(refused: ManifestRefused | ImageRefused) -> CheckResult:
    return CheckResult(refused.status, str(refused))
