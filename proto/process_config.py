"""Configurations of the bench's processes. The launcher writes one JSON file for each process, which reads it at its start.

    CloudConfig.model_validate_json(path.read_bytes())

* With these files the launcher starts an ECU or a cloud without importing its code.
* Unknown keys are errors. Paths are absolute, or relative to the process's working directory.

The gateway's configuration is in ``bench.gateway.config``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from otabench.proto.inhibit import InhibitFrame
from otabench.proto.isotp_address import IsoTpAddressing
from otabench.proto.periodic import PeriodicFrame

MAX_TIME_S: Final = 86_400.0
"""A day. A longer time would practically never end a test."""


# Written out, because ``job_states`` imports protobuf, which an ECU's process would load for nothing.
OpenState = Literal[
    "CREATED", "CONFIRMING", "WAITING_FOR_APPROVAL", "DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"
]
"""A state of a job that has not ended (``job_states.JobState``)."""


class ProcessConfig(BaseModel):
    """Base of all configurations. They are frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IsoTpConfig(IsoTpAddressing):
    """ISO 15765-2 parameters of one end: its addressing, and the limits in its flow control (block size, STmin)."""

    transport: Literal["auto", "kernel", "user"] = "auto"
    """auto: the kernel's CAN_ISOTP if the interface is socketcan and the kernel supports it, otherwise can-isotp."""
    block_size: int = Field(default=0, ge=0, le=255)
    # Whole milliseconds only. The codes of ISO 15765-2 for 100 to 900 µs are not supported.
    st_min_ms: int = Field(default=0, ge=0, le=127)
    # ISO 15765-2 recommends 0xCC, because it does not cause stuff bits. None: frames are as short as their contents.
    padding: int | None = Field(default=0xCC, ge=0, le=0xFF)
    fd: bool = False
    tx_dl: Literal[8, 12, 16, 20, 24, 32, 48, 64] | None = None
    """Bytes of a full frame on CAN FD (TX_DL). None: 64 with CAN FD, otherwise 8."""

    def frame_bytes(self, *, fd: bool) -> int:
        """Return how many bytes a full frame has on a bus with or without CAN FD."""
        return (self.tx_dl or 64) if fd else 8


class EcuTiming(ProcessConfig):
    """Times of a simulated ECU, in seconds. The defaults are short; a bench file can make them as long as a real ECU's."""

    # P2, P2* and S3 have the defaults of ISO 14229-2.
    p2_server_max_s: float = Field(default=0.05, gt=0, le=65.535)
    p2_star_server_max_s: float = Field(default=5.0, gt=0, le=655.35)
    """The response to DiagnosticSessionControl has two bytes for each of these times (units of 1 ms and 10 ms), hence the limits."""
    s3_server_s: float = Field(default=5.0, gt=0, le=MAX_TIME_S)
    boot_s: float = Field(default=0.15, ge=0, le=MAX_TIME_S)
    erase_sector_s: float = Field(default=0.0, ge=0, le=MAX_TIME_S)
    program_page_s: float = Field(default=0.0, ge=0, le=MAX_TIME_S)
    security_delay_s: float = Field(default=10.0, ge=0, le=MAX_TIME_S)
    trial_confirm_timeout_s: float = Field(default=60.0, gt=0, le=MAX_TIME_S)
    """How long a trial image may run unconfirmed before the watchdog resets it."""


LockableService = Literal["reset", "clear-dtcs", "communication-control", "dtc-setting"]
"""Services 11, 14, 28 and 85, which an ECU may keep locked in the programming session."""


class EcuConfig(ProcessConfig):
    """One simulated ECU (``python -m otabench.ecu_firmware_sim --config FILE``)."""

    name: str
    vin: str
    serial: str
    hardware_id: str
    part_number: str
    bus: dict[str, Any]
    """Arguments of ``can.Bus``: interface, channel, fd, …"""
    request_id: int
    response_id: int
    # The functional request identifier of OBD (ISO 15765-4).
    functional_id: int = 0x7DF
    isotp: IsoTpConfig = IsoTpConfig()
    timing: EcuTiming = EcuTiming()
    personality: str | None = None
    """A bootloader of another kind (``ecu_firmware_sim.personalities``). None: two slots and a slot table."""
    security_secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The secret of security access: 32 bytes, hex."""
    security_algorithm: str = "hmac-sha256"
    """A built-in algorithm, ``module:function``, or ``library:PATH`` (``proto.security_algorithm``)."""
    authentication_root: Path | None = None
    """The certificate (PEM) whose key has signed the certificates of the testers that a ``personality`` trusts (service 29)."""
    state_file: Path
    """The ECU's flash. The first start creates it from ``factory_image``."""
    factory_image: Path
    """An MCUboot image; with a ``personality`` the bytes of its application, from the first address on."""
    factory_versions: dict[int, str] = {}
    """The versions in the vehicle at the factory, by image number. The ECU judges the factory image's dependencies by them."""
    image_public_key: Path
    """The public key that verifies images: PEM, Ed25519."""
    director_root: Path
    """The Director's Root metadata (JSON), pinned. Its Targets key verifies what may be installed."""
    decryption_key: Path | None = None
    """A file with an X25519 private key, as 64 hexadecimal digits. None: the ECU refuses encrypted artifacts."""
    report_key: Path | None = None
    """A file with the Ed25519 private key that signs its version reports, as 64 hexadecimal digits. None: the ECU cannot sign."""
    slot_size_bytes: int = 0x100000
    max_boot_attempts: int = 3
    declared_ram_bytes: int = 4 * 1024 * 1024
    """The memory that rebuilding an image from a patch may use."""
    control_host: str = "127.0.0.1"
    control_port: int
    control_token: str = ""
    """What messages to the control port must bring. Empty: nothing, so that every program of this machine may use it."""
    trace: Path | None = None
    periodic: tuple[PeriodicFrame, ...] = ()
    """The frames that its application sends."""
    inhibit: InhibitFrame | None = None
    """The frame that keeps the vehicle from being driven while it is updated. None: it has none."""
    locked_services: tuple[LockableService, ...] = ()
    """What needs security access in the programming session."""
    faults: tuple[str, ...] = ()
    """Faults that are active from the start, such as "boot-fail"."""


EVENTS_NAME: Final = "events@cloud"
"""The CN of the certificate with which the cloud publishes events. No vehicle can have this name."""


class TlsConfig(ProcessConfig):
    """PEM files of one end of a mutually authenticated connection."""

    ca: Path
    certificate: Path
    key: Path


class CloudConfig(ProcessConfig):
    """The cloud (``python -m otabench.cloud PLANE --config FILE``; PLANE is control, artifacts, events or all)."""

    state_dir: Path
    database_url: str
    """SQLAlchemy URL, e.g. ``sqlite:///runs/x/cloud.db``."""
    artifact_store: str
    """fsspec URL of a folder, e.g. ``file:///…/artifacts``."""
    private_store: str | None = None
    """As ``artifact_store``, for plain images of encrypted campaigns. Only the control plane reads it. None: in ``state_dir``."""
    keys_dir: Path
    """The key folder that ``otabench keys init`` makes (docs/contracts.md, "Keys")."""
    grpc_host: str = "127.0.0.1"
    grpc_port: int
    tls: TlsConfig | None = None
    """None: no TLS; the port is bound to loopback only."""
    artifact_host: str = "127.0.0.1"
    artifact_port: int
    artifact_base_url: str
    """The URL at which vehicles reach the artifact server, e.g. ``http://127.0.0.1:9000/artifacts/``."""
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int
    mqtt_tls: TlsConfig | None = None
    """The publisher's certificate. None: no TLS, which is possible on loopback only."""
    embedded_broker: bool = False
    """Whether the event plane runs the broker amqtt itself. False: mosquitto runs as a process of its own."""
    poll_interval_s: float = 10.0
    require_approval: bool = False
    """Whether every campaign needs the approval of a second person, also one that does not ask for it."""
    wake_ups_per_s: float = Field(default=200.0, gt=0)
    """How many messages a control plane sends to the broker in a second at most."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Where the control plane answers Prometheus on loopback (``/metrics``). None: nowhere."""
    job_timeouts_s: dict[OpenState, Annotated[float, Field(gt=0)]] = {}
    """After how many seconds without a report the cloud ends a job, by its state. A state that is not named has no limit."""
    trace: Path | None = None

    @property
    def private_store_url(self) -> str:
        """The URL of the private store."""
        return self.private_store or (self.state_dir.absolute() / "private-artifacts").as_uri()
