"""The ECU that the UDS server serves, and the state of its dialogue with the tester."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from otabench.ecu_firmware_sim.flash.nvm import NvmStore
from otabench.ecu_firmware_sim.programming.download import Download
from otabench.ecu_firmware_sim.programming.memory import FirmwareMemory
from otabench.ecu_firmware_sim.uds.codes import ResetType, Session, Sid
from otabench.ecu_firmware_sim.uds.conditions import Conditions
from otabench.ecu_firmware_sim.uds.dtc import DtcMemory
from otabench.ecu_firmware_sim.uds.version_report import VersionReporter
from otabench.proto.security_algorithm import SecurityAlgorithm

_DISABLE_TX: Final = 0x01
"""Bit of CommunicationControl's sub-function; the other one, 02, disables receiving."""


@dataclass(frozen=True)
class Identity:
    """Texts that are fixed at the factory or by the running image; ASCII."""

    hardware_id: str
    part_number: str
    software_version: str
    boot_software_id: str
    supplier_software_version: str = "otabench-ecu 1"
    rxswin: str = ""
    """Empty: the running image states none, and the identifier is not there."""


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
    locked_services: frozenset[Sid] = frozenset()
    """Services that need security access in the programming session, although the standard leaves them open."""
    reporter: VersionReporter | None = None
    """None: the ECU has no key to sign version reports with."""


class MessageKind(IntFlag):
    """Kinds of messages that CommunicationControl switches: bits of its communicationType."""

    NORMAL = 0x01
    NETWORK_MANAGEMENT = 0x02


@dataclass
class Communication:
    """The messages that the ECU sends and receives: for each kind the sub-function of the last 28 that named it."""

    control_types: dict[MessageKind, int] = field(default_factory=dict)

    def control(self, kinds: MessageKind, control_type: int) -> None:
        """Perform CommunicationControl, sub-functions 00 to 03."""
        self.control_types.update({kind: control_type for kind in MessageKind if kind in kinds})

    def sends(self, kind: MessageKind) -> bool:
        """Return whether messages of that kind are sent."""
        # 0 is enableRxAndTx: what no request has named is enabled.
        return not self.control_types.get(kind, 0) & _DISABLE_TX


@dataclass
class OpenTransfer:
    """A download under way, with its block sequence."""

    download: Download
    last_counter: int = 0
    # Without the count, a first block with the counter 00 would pass for a repeat: ``last_counter`` starts at 0.
    blocks: int = 0


@dataclass
class Dialogue:
    """The state of the dialogue, all of which a reset ends."""

    home: Session
    """The session to which S3 returns: default; in the bootloader, programming."""
    session: Session = field(init=False)
    unlocked: bool = False
    seed: bytes | None = None
    delay_until_s: float = 0.0
    transfer: OpenTransfer | None = None
    communication: Communication = field(default_factory=Communication)
    reset_due: ResetType | None = None
    """Set by ECUReset: the ECU resets once the response is sent."""

    def __post_init__(self) -> None:
        self.session = self.home

    @property
    def in_bootloader(self) -> bool:
        return self.home is Session.PROGRAMMING

    def enter(self, session: Session) -> None:
        """Change the session: lock, end a transfer (its slot stays INVALID); the home session also switches communication on."""
        # Also where the session stays the same: entering a session locks (ISO 14229-1), and what was unlocked is not carried over.
        self.session = session
        self.unlocked = False
        self.seed = None
        self.transfer = None
        if session is self.home:
            self.communication = Communication()
