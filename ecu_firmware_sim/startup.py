"""From a reset to the device that the UDS server serves: read NVM, boot, report what happened, put the parts together.

``bootloader`` chooses the slot. Its notes become trouble codes and trace events here. A code is stored before the state of its slot is
written, so that no power cut loses it. Nothing here waits or sends.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from otabench.ecu_firmware_sim.boot import bootloader
from otabench.ecu_firmware_sim.boot.boot_control import BootControlStore
from otabench.ecu_firmware_sim.boot.bootloader import Bootloader, BootNote, BootOutcome
from otabench.ecu_firmware_sim.boot.slots import SlotEvent, SlotState
from otabench.ecu_firmware_sim.errors import ConfigError
from otabench.ecu_firmware_sim.event_trace import EventTrace
from otabench.ecu_firmware_sim.factory import Provision
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.flash.nvm import MAX_SECURITY_ATTEMPTS, NvmData
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.programming.metadata import MetadataWindow
from otabench.ecu_firmware_sim.programming.storage import Storage
from otabench.ecu_firmware_sim.programming.verification import ProgrammingPolicy
from otabench.ecu_firmware_sim.uds.codes import Sid
from otabench.ecu_firmware_sim.uds.conditions import Conditions
from otabench.ecu_firmware_sim.uds.dtc import Dtc, DtcMemory
from otabench.ecu_firmware_sim.uds.state import Device, Identity, Timing
from otabench.ecu_firmware_sim.uds.version_report import VersionReporter
from otabench.proto import security_algorithm
from otabench.proto.image_format import NOTHING_RUNS
from otabench.proto.process_config import EcuConfig, LockableService
from otabench.proto.security_algorithm import AlgorithmError
from otabench.proto.trace import TraceWriter

NO_APPLICATION_VERSION: Final = str(NOTHING_RUNS)
"""F189 while no application runs."""


class Startup:
    """Boots one ECU, again and again, over its flash.

    Raises:
        ConfigError: the security algorithm cannot be used.
    """

    def __init__(
        self, config: EcuConfig, given: Provision, flash: NorFlash, layout: FlashLayout, writer: TraceWriter
    ) -> None:
        self._config = config
        self._report_key = given.report_key
        self._storage = Storage.on(flash, layout, self._slot_changed)
        self._policy = ProgrammingPolicy(given.policy, given.root, config.declared_ram_bytes, given.decryption_key)
        metadata = MetadataWindow(self._storage, root=given.root, hardware_id=config.hardware_id)
        self.trace = EventTrace(writer, ecu=config.name, announced_job_id=metadata.announced_job_id)
        self.conditions = Conditions()
        try:
            self._security = security_algorithm.load(
                config.security_algorithm, secret=bytes.fromhex(config.security_secret)
            )
        except AlgorithmError as error:
            raise ConfigError(f"security_algorithm: {error}") from error
        # One bootloader for boots and for check memory: an image that is STAGED has passed the same code that will boot it.
        self._bootloader = Bootloader(flash, layout, self._storage.boot_control, given.policy)

    @property
    def boot_control(self) -> BootControlStore:
        return self._storage.boot_control

    def boot(self) -> tuple[BootOutcome, DtcMemory]:
        """Return the bootloader's choice, and the trouble codes with its notes in them. Raises PowerLost."""
        # First, because trouble codes and slot events of this boot carry the job.
        self.trace.refresh_job()
        dtcs = self._load_nvm()

        def met(note: BootNote, slot: int, text: str) -> None:
            # Called by the bootloader before it writes the slot's state: cut in between, the next boot meets the same and stores it again.
            if note is BootNote.BOOT_CONTROL_LOST:
                dtcs.set(Dtc.FLASH_ERROR, text)
                return
            if note is BootNote.VERIFICATION_FAILED:
                self.trace.emit("ecu.boot_failed", slot=slot, reason=f"verification failed: {text}")
                dtcs.set(Dtc.SLOT_CHECKSUM, text)
            elif note is BootNote.DEPENDENCY_NOT_MET:
                dtcs.set(Dtc.IMAGE_REFUSED, text)
            # P1602 in addition to the cause: a tester asks for it to learn that an update was rolled back.
            if slot == self.boot_control.current.trial:
                dtcs.set(Dtc.ROLLED_BACK, text)

        outcome = self._bootloader.boot(met)
        for note, slot, text in outcome.notes:
            # Only now, because a slot with an unmet dependency may have been booted all the same, as the last resort.
            if note is BootNote.DEPENDENCY_NOT_MET and slot != outcome.slot:
                self.trace.emit("ecu.boot_failed", slot=slot, reason=f"dependency not met: {text}")
        if outcome.rolled_back_from is not None:
            reason = next((text for _, slot, text in outcome.notes if slot == outcome.rolled_back_from), "")
            self.trace.emit("ecu.rollback", slot=outcome.rolled_back_from, to_slot=outcome.slot, reason=reason)
        return outcome, dtcs

    def device(self, outcome: BootOutcome, dtcs: DtcMemory) -> Device:
        """Return what the UDS server serves."""
        config, timing = self._config, self._config.timing
        firmware = FirmwareMemory(
            self._storage,
            self._policy,
            self._bootloader,
            running=outcome.slot,
            metadata_changed=self.trace.refresh_job,
        )
        identity = Identity(
            config.hardware_id, config.part_number, _version(outcome), bootloader.VERSION, rxswin=_rxswin(outcome)
        )
        return Device(
            identity,
            Timing(
                p2_server_max_s=timing.p2_server_max_s,
                p2_star_server_max_s=timing.p2_star_server_max_s,
                s3_server_s=timing.s3_server_s,
                security_delay_s=timing.security_delay_s,
            ),
            self._security,
            firmware,
            self._storage.nvm,
            dtcs,
            self.conditions,
            locked_services=frozenset(_LOCKABLE[name] for name in config.locked_services),
            reporter=self._reporter(firmware, identity.software_version),
        )

    def _reporter(self, firmware: FirmwareMemory, version: str) -> VersionReporter | None:
        if self._report_key is None:
            return None
        return VersionReporter(
            self._report_key,
            hardware_id=self._config.hardware_id,
            version=version,
            firmware=firmware,
            nvm=self._storage.nvm,
        )

    def report_running(self, outcome: BootOutcome, *, mode: str) -> None:
        """Append what runs now to the trace."""
        control = self.boot_control.current
        self.trace.emit(
            "ecu.boot",
            mode=mode,
            slot=outcome.slot,
            state=None if outcome.slot is None else control.states[outcome.slot].name,
            version=_version(outcome),
            boots_left=control.boots_left if control.trial is not None else 0,
        )

    def _load_nvm(self) -> DtcMemory:
        nvm, config = self._storage.nvm, self._config
        lost = nvm.load() is None
        if lost:
            # No power cut can do that. Security starts with the delay, so that an attacker gains nothing by destroying the record.
            nvm.write(NvmData(serial=config.serial, vin=config.vin, security_attempts=MAX_SECURITY_ATTEMPTS))
        dtcs = DtcMemory(
            nvm,
            utc=lambda: datetime.now(UTC).isoformat(timespec="seconds"),
            job_id=lambda: self.trace.job_id or nvm.current.job_id,
        )
        dtcs.start_operation_cycle()
        # After the start of the cycle, which would count it as a failure of the cycle before.
        if lost:
            dtcs.set(Dtc.FLASH_ERROR, "neither NVM bank was readable")
        return dtcs

    def _slot_changed(self, slot: int, before: SlotState, now: SlotState, event: SlotEvent) -> None:
        self.trace.emit("ecu.slot", slot=slot, **{"from": before.name, "to": now.name, "reason": str(event)})


_LOCKABLE: Final[dict[LockableService, Sid]] = {
    "reset": Sid.ECU_RESET,
    "clear-dtcs": Sid.CLEAR_DIAGNOSTIC_INFORMATION,
    "communication-control": Sid.COMMUNICATION_CONTROL,
    "dtc-setting": Sid.CONTROL_DTC_SETTING,
}


def _rxswin(outcome: BootOutcome) -> str:
    # Of the image that runs, whose signature covers it: so it cannot be changed but by an update (UN R156, 7.2.1.2.3).
    return "" if outcome.image is None else outcome.image.rxswin


def _version(outcome: BootOutcome) -> str:
    return NO_APPLICATION_VERSION if outcome.image is None else str(outcome.image.version)
