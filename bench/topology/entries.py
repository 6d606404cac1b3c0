"""The entries of a bench file: vehicle, bus, ECU with power and security. Their keys, types, ranges and defaults.

Rules between entries are in ``topology.rules``, defaults that depend on several entries in ``topology.model``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.image_format import MAX_IMAGE_NUMBER
from otabench.proto.inhibit import InhibitFrame
from otabench.proto.periodic import PeriodicFrame
from otabench.proto.process_config import EcuTiming, IsoTpConfig, LockableService
from otabench.proto.security_algorithm import DEFAULT as DEFAULT_ALGORITHM
from otabench.proto.security_algorithm import NAME_PATTERN as ALGORITHM_PATTERN
from otabench.proto.time_zone import TimeZone

FUNCTIONAL_ID = 0x7DF
UDP_MULTICAST = "udp_multicast"
DEFAULT_PROFILE = "iso14229-ab"
"""The flash profile of the simulated ECUs, whose identifiers F40C, F40D and F442 report the vehicle's conditions."""
UDP_MULTICAST_PORT = 43113
"""python-can's default."""
FD_BIT_TIMING = frozenset(
    {"f_clock", *(f"{phase}_{part}" for phase in ("nom", "data") for part in ("brp", "tseg1", "tseg2", "sjw"))}
)
"""Keys from which ``can.Bus`` makes the bit timing of CAN FD, if all are given."""


class Entry(BaseModel):
    """Base of all entries: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VehicleEntry(Entry):
    """The vehicle."""

    vin: str = Field(pattern=r"^[A-HJ-NPR-Z0-9]{17}$")
    time_zone: TimeZone = "UTC"
    """In which the driver schedules an update."""
    inhibit: InhibitFrame | None = None
    """The frame by which the gateway forbids driving. None: it sends none."""
    conditions: dict[Quantity, ConditionSource] = {}
    """Where the gateway takes the quantities from that campaigns have conditions on. A quantity that is omitted is taken from the first
    simulated ECU that reports it."""


_EXCLUSIVE: Final = frozenset({"slcan", "serial", "robotell", "seeedstudio", "gs_usb", "canalystii", "cantact"})
"""Interfaces of python-can that open a serial port or a USB device themselves."""
_WITHOUT_WIRES: Final = frozenset({UDP_MULTICAST, "virtual"})
"""Interfaces of python-can that pass frames between programs, as fast as these can."""


class BusEntry(Entry):
    """One CAN bus, as ``can.Bus`` opens it.

    Keys of its interface may stand beside these (``topology.python_can`` puts them into ``options``).
    """

    interface: str = "socketcan"
    channel: str | Annotated[int, Field(ge=0, lt=2**31)]
    bitrate: int = Field(default=500_000, ge=10_000, le=1_000_000)
    """Nominal bit rate: a virtual bus is paced to it, a real one must be set to it."""
    data_bitrate: int | None = Field(default=None, ge=10_000, le=12_000_000)
    """CAN FD's data phase; None: the nominal rate."""
    fd: bool = False
    config_context: str | None = None
    """Section of ``~/.canrc``, and suffix of CAN_INTERFACE and CAN_CHANNEL, from which omitted keys are filled in."""
    options: dict[str, Any] = {}
    """Further keyword arguments of ``can.Bus`` for this interface, passed on unchecked."""

    def can_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for ``can.Bus``."""
        arguments: dict[str, Any] = {"interface": self.interface, "channel": self.channel, "fd": self.fd}
        if self.interface not in ("socketcan", UDP_MULTICAST, "virtual"):
            arguments["bitrate"] = self.bitrate
            if self.data_bitrate is not None:
                arguments["data_bitrate"] = self.data_bitrate
        return arguments | self.options

    @property
    def identity(self) -> tuple[str, str]:
        """Interface and channel: entries with the same identity are the same bus on this machine.

        For ``udp_multicast`` it is the port: Linux delivers to a socket the frames of every group that any socket joined on its port.
        """
        if self.interface == UDP_MULTICAST:
            return self.interface, f"port {self.options.get('port', UDP_MULTICAST_PORT)}"
        return self.interface, str(self.channel)

    @property
    def is_vcan(self) -> bool:
        """Whether this is a virtual SocketCAN interface, by its name. Such a bus can be paced."""
        return self.interface == "socketcan" and str(self.channel).startswith("vcan")

    @property
    def has_wires(self) -> bool:
        """Whether frames go over a physical line, which takes the time of their bits."""
        return not self.is_vcan and self.interface not in _WITHOUT_WIRES

    @property
    def is_one_programs(self) -> bool:
        """Whether python-can opens the adapter itself, so that two programs would take each other's frames."""
        return self.interface in _EXCLUSIVE


class LabEntry(Entry):
    """The place of a lab that labgrid shares; a bench takes it while it runs (``launcher.labgrid``)."""

    place: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")
    """Its name in the coordinator."""
    coordinator: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:\[\]-]{1,255}$")
    """``HOST`` or ``HOST:PORT``. None: LG_COORDINATOR, else 127.0.0.1:20408, as for labgrid's own client."""


class PowerEntry(Entry):
    """How to switch an ECU's supply (``launcher.power``)."""

    driver: Literal["simulated", "command", "labgrid", "none"] | None = None
    """None: ``simulated`` for a simulated ECU, ``none`` for a board."""
    on: str = ""
    off: str = ""
    """Shell commands of the driver ``command``."""
    resource: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    """Driver ``labgrid``: the name of the power resource, if the place has several."""
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Limit for one command; after it the command is killed."""
    off_s: float = Field(default=1.0, ge=0, le=600)
    """How long a power cycle keeps the supply off."""

    @model_validator(mode="after")
    def _commands_fit(self) -> PowerEntry:
        if self.driver == "command" and not (self.on.strip() and self.off.strip()):
            raise ValueError("driver command needs both commands, on and off")
        if self.driver != "command" and (self.on or self.off):
            raise ValueError("the commands on and off need driver: command")
        if self.driver != "labgrid" and self.resource:
            raise ValueError("resource needs driver: labgrid")
        return self

    @property
    def is_external(self) -> bool:
        """Whether something outside of the bench switches the supply."""
        return self.driver in ("command", "labgrid")


class SecurityChoiceEntry(Entry):
    """One of several secrets of an ECU. Its flash profile chooses by what it has read (``choose_by`` of ``unlock``)."""

    algorithm: str = Field(default=DEFAULT_ALGORITHM, pattern=ALGORITHM_PATTERN)
    secret: str | None = Field(default=None, pattern=r"^([0-9a-fA-F]{2}){0,255}$")
    secret_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> SecurityChoiceEntry:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("give secret or secret_file, one of them")
        return self


class SecurityEntry(Entry):
    """Security access of an ECU."""

    algorithm: str = Field(default=DEFAULT_ALGORITHM, pattern=ALGORITHM_PATTERN)
    """A built-in algorithm, ``module:function``, or ``library:PATH`` (``proto.security_algorithm``)."""
    secret: str | None = Field(default=None, pattern=r"^([0-9a-fA-F]{2}){0,255}$")
    """In hex; a simulated ECU's has 32 bytes. Empty: the board has none. None: read from ``secret_file``, or made by
    `otabench keys init` (simulated ECUs only)."""
    secret_file: Path | None = None
    """A file with the 64 digits, so that the bench file can be shared without them; relative to the bench file."""
    choices: dict[str, SecurityChoiceEntry] = {}
    """Further secrets, by the text that the ECU reports, for example its hardware number."""

    @field_validator("secret")
    @classmethod
    def _small_letters(cls, secret: str | None) -> str | None:
        return None if secret is None else secret.lower()

    @model_validator(mode="after")
    def _one_secret(self) -> SecurityEntry:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("secret and secret_file are both given; keep one")
        return self


class AuthenticationEntry(Entry):
    """Authentication of the tester by a certificate (service 29). Files are in PEM, relative to the bench file."""

    certificate: Path
    key: Path
    """Its private key, Ed25519 or ECDSA, without a password."""
    root: Path | None = None
    """For a simulated ECU: the certificate whose key has signed the tester's."""


class FormerImageEntry(Entry):
    """The image that a board has when the bench first meets it, which a rollback flashes if the board has no second slot."""

    file: Path
    """A program file or an MCUboot image; relative to the bench file."""
    version: str = Field(min_length=1, max_length=64)
    address: int | None = Field(default=None, ge=0, lt=2**32)
    """Where a binary without addresses belongs."""


class EcuEntry(Entry):
    """One ECU."""

    kind: Literal["simulated", "board"] = "simulated"
    bus: str
    request_id: int = Field(ge=0, le=0x1FFF_FFFF)
    response_id: int = Field(ge=0, le=0x1FFF_FFFF)
    functional_id: int = Field(default=FUNCTIONAL_ID, ge=0, le=0x1FFF_FFFF)
    hardware_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")
    image_number: int | None = Field(default=None, ge=1, le=MAX_IMAGE_NUMBER)
    """The number by which images of other ECUs depend on this one. None: its place in the file, from 1."""
    profile: str = DEFAULT_PROFILE
    """Flash profile: a shipped one by name, or a file (``./mine.yaml``, relative to the bench file)."""
    personality: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,32}$")
    """Which bootloader a simulated ECU has. None: the one for which its flash profile is shipped, else one with a slot table."""
    former_image: FormerImageEntry | None = None
    settings: dict[str, str] = {}
    """Texts that the templates of a sequence profile name, such as ``workshop_code``."""
    serial: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,32}$")
    part_number: str | None = Field(default=None, pattern=r"^[\x21-\x7e]{1,32}$")
    image_size_bytes: int = Field(default=262_144, ge=4096, le=1_000_000)
    """Size of the firmware that `otabench firmware build` makes for this ECU."""
    slot_size_bytes: int = Field(default=0x100000, ge=0x2000, le=0x100000)
    declared_ram_bytes: int = Field(default=4 * 1024 * 1024, ge=4096, le=0xFFFF_FFFF)
    isotp: IsoTpConfig | None = None
    """None: chosen by the bus (``Topology.isotp_of``)."""
    timing: EcuTiming = EcuTiming()
    locked_services: tuple[LockableService, ...] = ()
    """Of a simulated ECU with a slot table: what needs security access in the programming session."""
    features: tuple[str, ...] = ()
    periodic: tuple[PeriodicFrame, ...] = ()
    """Application frames. A simulated ECU sends them; for a board they only describe what it sends (`otabench dbc`)."""
    power: PowerEntry = PowerEntry()
    security: SecurityEntry = SecurityEntry()
    authentication: AuthenticationEntry | None = None
    """None: a simulated ECU whose flash profile authenticates gets certificates of the run."""
    control_port: int | None = Field(default=None, ge=1, le=65535)
    """For a board: loopback port of a fault injector with the control port's protocol (docs/contracts.md)."""

    @model_validator(mode="after")
    def _frames_apart(self) -> EcuEntry:
        for frame in self.periodic:
            if frame.id in (self.request_id, self.response_id, self.functional_id):
                raise ValueError(
                    f"periodic: 0x{frame.id:X} of {frame.name} is a diagnostic identifier; give it its own"
                )
        return self
