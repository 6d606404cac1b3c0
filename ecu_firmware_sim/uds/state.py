"""What the UDS server knows: the ECU it serves and the state of its dialogue with the tester."""

from __future__ import annotations

from dataclasses import dataclass, field

from ecu_firmware_sim.download import Download
from ecu_firmware_sim.dtc import DtcMemory
from ecu_firmware_sim.firmware import FirmwareMemory
from ecu_firmware_sim.nvm import NvmStore
from ecu_firmware_sim.uds.codes import ResetType, Session
from ecu_firmware_sim.uds.conditions import Conditions
from proto.security_algorithm import SecurityAlgorithm


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


@dataclass
class Transfer:
    """A download under way."""

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
    transfer: Transfer | None = None
    communication_control: int = 0
    reset_due: ResetType | None = None
    """Set by ECUReset: the ECU resets once the response is out."""

    def __post_init__(self) -> None:
        self.session = self.home

    @property
    def in_bootloader(self) -> bool:
        return self.home is Session.PROGRAMMING

    def enter(self, session: Session) -> None:
        """Changes the session: locks, ends a transfer (its slot stays INVALID); default also switches communication on."""
        self.session = session
        self.unlocked = False
        self.seed = None
        self.transfer = None
        if session is self.home:
            self.communication_control = 0
