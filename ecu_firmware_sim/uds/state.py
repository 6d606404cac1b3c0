"""What the UDS server knows: the ECU it serves and the state of its dialogue with the tester."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from otabench.ecu_firmware_sim.flash.nvm import NvmStore
from otabench.ecu_firmware_sim.programming.download import Download
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.uds.codes import ResetType, Session
from otabench.ecu_firmware_sim.uds.conditions import Conditions
from otabench.ecu_firmware_sim.uds.dtc import DtcMemory
from otabench.proto.security_algorithm import SecurityAlgorithm

_DISABLE_TX: Final = 0x01
"""Bit of CommunicationControl's sub-function; the other one, 02, disables receiving."""


@dataclass(frozen=True)
class Identity:
    """What is fixed at the factory or by the running image; ASCII."""

    hardware_id: str
    part_number: str
    software_version: str
    boot_software_id: str
    supplier_software_version: str = "otabench-ecu 1"
    rxswin: str = "R156 OTABENCH 1"


@dataclass(frozen=True)
class Timing:
    """Server timing in seconds."""

    p2_server_max_s: float = 0.05
    p2_star_server_max_s: float = 5.0
    s3_server_s: float = 5.0
    security_delay_s: float = 10.0


@dataclass(frozen=True)
class Device:
    """The ECU behind the server."""

    identity: Identity
    timing: Timing
    security: SecurityAlgorithm
    firmware: FirmwareMemory
    nvm: NvmStore
    dtcs: DtcMemory
    conditions: Conditions = field(default_factory=Conditions)


class MessageKind(IntFlag):
    """Messages that CommunicationControl switches: bits of its communicationType."""

    NORMAL = 0x01
    NETWORK_MANAGEMENT = 0x02


@dataclass
class Communication:
    """Which messages the ECU receives and sends, by their kind: the last 28 that named it."""

    control_types: dict[MessageKind, int] = field(default_factory=dict)

    def control(self, kinds: MessageKind, control_type: int) -> None:
        """CommunicationControl, sub-functions 00 to 03."""
        self.control_types.update({kind: control_type for kind in MessageKind if kind in kinds})

    def sends(self, kind: MessageKind) -> bool:
        """Return whether messages of that kind are sent."""
        return not self.control_types.get(kind, 0) & _DISABLE_TX


@dataclass
class OpenTransfer:
    """A download under way, with its block sequence."""

    download: Download
    last_counter: int = 0
    blocks: int = 0


@dataclass
class Dialogue:
    """State of the dialogue; all of it is gone after a reset."""

    home: Session
    """The session that S3 returns to: default, in the bootloader programming."""
    session: Session = field(init=False)
    unlocked: bool = False
    seed: bytes | None = None
    delay_until_s: float = 0.0
    transfer: OpenTransfer | None = None
    communication: Communication = field(default_factory=Communication)
    reset_due: ResetType | None = None
    """Set by ECUReset: the ECU resets once the response is out."""

    def __post_init__(self) -> None:
        self.session = self.home

    @property
    def in_bootloader(self) -> bool:
        return self.home is Session.PROGRAMMING

    def enter(self, session: Session) -> None:
        """Change the session: locks, ends a transfer (its slot stays INVALID); default also switches communication on."""
        self.session = session
        self.unlocked = False
        self.seed = None
        self.transfer = None
        if session is self.home:
            self.communication = Communication()
