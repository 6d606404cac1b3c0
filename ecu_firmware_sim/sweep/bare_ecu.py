"""An ECU without event loop, transport and clock, and a tester that updates it.

It is for sweeps, which boot thousands of ECUs. It runs the code of a complete ECU: ``Startup``, bootloader, UDS server, and a flash in
memory. A pending operation (78) runs immediately. Time stands still, so that a session does not expire while a sweep works on another ECU.

The tester's next step depends on what the ECU reports, so that ``update`` continues from any state in which a power cut left it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from otabench.ecu_firmware_sim.boot.bootloader import BootOutcome
from otabench.ecu_firmware_sim.boot.slots import SlotState
from otabench.ecu_firmware_sim.factory import Provision, factory_memory
from otabench.ecu_firmware_sim.flash.layout import METADATA_WINDOW, SECTOR_BYTES, SLOT_WINDOW, FlashLayout
from otabench.ecu_firmware_sim.flash.nor import NorFlash
from otabench.ecu_firmware_sim.startup import Startup
from otabench.ecu_firmware_sim.uds.server import PendingResponse, UdsServer
from otabench.proto import image_format
from otabench.proto.process_config import EcuConfig
from otabench.proto.trace import TraceWriter

# A whole number of pages: blocks of another size would only change which of them share a flash operation.
BLOCK_BYTES: Final = 1024
# The time at which everything happens. It must exceed the delay of security access after a power-on.
NOW_S: Final = 1000.0
_ERASE_MEMORY, _CHECK_MEMORY = b"\x31\x01\xff\x00", b"\x31\x01\x02\x02"
_ACTIVATE, _CONFIRM, _REVERT = b"\x31\x01\x02\x10", b"\x31\x01\x02\x11", b"\x31\x01\x02\x12"


class UpdateRefused(Exception):
    """The ECU answered a step of an update negatively, or is not in the state that it should be in after it.

    Attributes:
        answer: the negative response; empty if there is none.
    """

    def __init__(self, message: str, *, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


class Kind(StrEnum):
    """Kinds of transfer."""

    FULL = "full"
    DELTA = "delta"
    ENCRYPTED = "encrypted"
    ENCRYPTED_DELTA = "encrypted-delta"


DATA_FORMATS: Final = {Kind.FULL: 0x00, Kind.DELTA: 0x10, Kind.ENCRYPTED: 0x01, Kind.ENCRYPTED_DELTA: 0x11}
"""The dataFormatIdentifier of each."""


@dataclass(frozen=True)
class Update:
    """One update of one kind of ECU, completely signed.

    Attributes:
        config: the ECU's configuration; no file or bus in it is opened.
        given: the keys and the policy that the factory pins in the ECU.
        layout: the layout of its flash.
        old, new: the images.
        transfers: for each available kind, the bytes that are transferred to make ``new`` of ``old``.
        targets: what the metadata window receives: Targets that name ``new`` for this ECU, with or without Roots before them.
    """

    config: EcuConfig
    given: Provision
    layout: FlashLayout
    old: bytes
    new: bytes
    transfers: Mapping[Kind, bytes]
    targets: bytes

    @property
    def old_version(self) -> str:
        return str(image_format.parse(self.old).version)

    @property
    def new_version(self) -> str:
        return str(image_format.parse(self.new).version)

    def factory_state(self) -> bytes:
        """Return the flash of a new ECU that runs ``old``. Raises ConfigError."""
        return bytes(
            factory_memory(
                self.old,
                layout=self.layout,
                policy=self.given.policy,
                vin=self.config.vin,
                serial=self.config.serial,
            )
        )


class BareEcu:
    """An ECU on a copy of ``memory``. Call ``boot`` first. ``noise_seed``: see ``NorFlash``."""

    def __init__(self, update: Update, memory: bytes, *, noise_seed: int = 0) -> None:
        self.facts = update
        self.flash = NorFlash(bytearray(memory), noise_seed=noise_seed)
        # boot() sets these two: each reset makes them anew.
        self._startup: Startup
        self._server: UdsServer
        self._running: int | None = None
        self._trace = TraceWriter(None, component="ecu")

    def boot(self) -> BootOutcome:
        """Boot after a power-on or reset: everything but the flash is new. Raises PowerLost."""
        self.flash.powered = True
        facts = self.facts
        self._startup = Startup(facts.config, facts.given, self.flash, facts.layout, self._trace)
        outcome, dtcs = self._startup.boot()
        device = self._startup.device(outcome, dtcs)
        self.firmware = device.firmware
        self._running = outcome.slot
        self._server = UdsServer(device, in_bootloader=outcome.slot is None, now_s=NOW_S)
        return outcome

    @property
    def running_version(self) -> str:
        """The version that DID F189 reports. Raises UpdateRefused, PowerLost."""
        return self.ask(b"\x22\xf1\x89")[3:].decode()

    @property
    def running_state(self) -> SlotState:
        """The state of the active slot."""
        return self._startup.boot_control.current.states[self.firmware.active]

    def state_of(self, slot: int) -> SlotState:
        """Return the state of a slot in boot control."""
        return self._startup.boot_control.current.states[slot]

    def trouble_codes(self) -> list[int]:
        """Return the codes that are stored (confirmedDTC). Raises UpdateRefused, PowerLost."""
        # Each entry has 3 bytes of DTC and 1 byte of status (ISO 14229-1, 19 02).
        entries = self.ask(b"\x19\x02\x08")[3:]
        return [int.from_bytes(entries[start : start + 3], "big") for start in range(0, len(entries), 4)]

    def ask(self, request: bytes) -> bytes:
        """Return the positive response to a request.

        Raises:
            UpdateRefused: it was answered negatively, or not at all.
            PowerLost: power was lost meanwhile.
        """
        handled = self._server.handle(request, functional=False, now_s=NOW_S)
        # On this thread: a power cut must raise here, and thousands of threads would make the sweep slower.
        answer = handled.final(handled.work(), announced=False) if isinstance(handled, PendingResponse) else handled
        if isinstance(handled, PendingResponse):
            self._server.completed(now_s=NOW_S)
        if answer is None or answer[0] == 0x7F:
            raise UpdateRefused(
                f"{request[:12].hex(' ').upper()} was answered {answer.hex(' ').upper() if answer else 'not at all'}",
                answer=answer or b"",
            )
        return answer

    # The update, as a tester does it.

    def update(self, kind: Kind) -> None:
        """Complete the update, whatever state the ECU is in. At the end it runs the new version, CONFIRMED.

        Raises:
            UpdateRefused: the ECU refuses a step, or does not run the new version CONFIRMED at the end.
            PowerLost: power was lost.
        """
        # Check the two steps separately: after a power cut the new version may run without being confirmed.
        if self.running_version != self.facts.new_version:
            self.stage(kind)
            self.activate()
            self.boot()
        if self.firmware.on_trial:
            self.confirm()
        if self.running_version != self.facts.new_version or self.running_state is not SlotState.CONFIRMED:
            raise UpdateRefused(f"the ECU runs {self.running_version} ({self.running_state.name}) after the update")

    def stage(self, kind: Kind) -> None:
        """Program the inactive slot, up to STAGED. Raises as ``update``."""
        facts = self.facts
        self.unlock()
        self._download(METADATA_WINDOW, facts.targets)
        # Only the sectors that the image needs: erasing the whole slot would add cut points that are all alike.
        sectors = -(-len(facts.new) // SECTOR_BYTES) * SECTOR_BYTES
        self.ask(_ERASE_MEMORY + b"\x44" + _window(SLOT_WINDOW, sectors))
        self._download(SLOT_WINDOW, facts.transfers[kind], size=len(facts.new), data_format=DATA_FORMATS[kind])
        status = self.ask(_CHECK_MEMORY)[4]
        if status:
            raise UpdateRefused(f"check memory returned status {status:02X}")

    def unlock(self) -> None:
        """Enter the programming session and unlock the ECU. Raises as ``update``."""
        self.ask(b"\x10\x02")
        seed = self.ask(b"\x27\x01")[2:]
        # A seed of zeros: unlocked already.
        if any(seed):
            secret = bytes.fromhex(self.facts.config.security_secret)
            self.ask(b"\x27\x02" + hmac.new(secret, seed, hashlib.sha256).digest())

    def activate(self) -> None:
        """Have the staged slot tried at the next reset. Raises as ``update``."""
        self.unlock()
        self.ask(_ACTIVATE)

    def confirm(self) -> None:
        """Confirm the running trial. Raises as ``update``."""
        # The reset before the trial has ended session and security access.
        self.unlock()
        self.ask(_CONFIRM)

    def revert(self) -> None:
        """End a trial, whether it runs already or is only activated. Raises as ``update``."""
        self.unlock()
        self.ask(_REVERT)

    def end_trial(self) -> None:
        """Set the remaining boots of the running trial to 0, as the watchdog does. Raises PowerLost."""
        self.firmware.end_trial()

    def _download(self, address: int, data: bytes, *, size: int | None = None, data_format: int = 0) -> None:
        self.ask(bytes((0x34, data_format, 0x44)) + _window(address, len(data) if size is None else size))
        # The counter wraps after 255 blocks; ``& 0xFF`` makes FF be followed by 00 (ISO 14229-1).
        for number, start in enumerate(range(0, len(data), BLOCK_BYTES), start=1):
            self.ask(bytes((0x36, number & 0xFF)) + data[start : start + BLOCK_BYTES])
        self.ask(b"\x37")


def _window(address: int, length: int) -> bytes:
    return address.to_bytes(4, "big") + length.to_bytes(4, "big")
