"""What a process of the bench is told at its start: one JSON file each, written by the launcher, read by the process.

A wire like any other: the launcher may start an ECU or a cloud without importing it. Unknown keys are errors. Paths are
absolute or relative to the process's working directory. Nothing here is read from the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from otabench.proto.isotp_address import IsoTpAddressing
from otabench.proto.periodic import PeriodicFrame


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IsoTpConfig(IsoTpAddressing):
    """ISO 15765-2 parameters of one end: its addressing, and the limits that it sends in flow control (block size, STmin)."""

    transport: Literal["auto", "kernel", "user"] = "auto"
    """auto: the kernel's CAN_ISOTP where the interface is socketcan and the kernel has it, else can-isotp."""
    block_size: int = Field(default=0, ge=0, le=255)
    st_min_ms: int = Field(default=0, ge=0, le=127)
    padding: int | None = Field(default=0xCC, ge=0, le=0xFF)
    fd: bool = False
    tx_dl: Literal[8, 12, 16, 20, 24, 32, 48, 64] | None = None
    """Bytes of a full frame (CAN FD). None: 64 with CAN FD, else 8."""

    def frame_bytes(self, *, fd: bool) -> int:
        """Bytes of a full frame on a bus that is CAN FD or not."""
        return (self.tx_dl or 64) if fd else 8


class EcuTiming(_Config):
    """Times of an ECU, in seconds. The defaults are quick; a bench file may make them real."""

    p2_server_max_s: float = Field(default=0.05, gt=0, le=65.535)
    p2_star_server_max_s: float = Field(default=5.0, gt=0, le=655.35)
    """Upper bounds of both: what the two bytes of the answer to 10 hold."""
    s3_server_s: float = Field(default=5.0, gt=0)
    boot_s: float = Field(default=0.15, ge=0)
    erase_sector_s: float = Field(default=0.0, ge=0)
    program_page_s: float = Field(default=0.0, ge=0)
    security_delay_s: float = Field(default=10.0, ge=0)
    trial_confirm_timeout_s: float = Field(default=60.0, gt=0)
    """How long a trial image may run unconfirmed before the watchdog resets it."""


class EcuConfig(_Config):
    """One simulated ECU (``python -m otabench.ecu_firmware_sim --config FILE``)."""

    name: str
    vin: str
    serial: str
    hardware_id: str
    part_number: str
    bus: dict[str, Any]
    """Passed on to ``can.Bus``: interface, channel, fd, …"""
    request_id: int
    response_id: int
    functional_id: int = 0x7DF
    isotp: IsoTpConfig = IsoTpConfig()
    timing: EcuTiming = EcuTiming()
    security_secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    """32 bytes, hex: the key of the seed's HMAC-SHA-256."""
    security_algorithm: str = "hmac-sha256"
    """``security_algorithm``: the built-in one, or ``module:function``."""
    state_file: Path
    """The ECU's flash, made at the first start from factory_image, kept from then on."""
    factory_image: Path
    factory_versions: dict[int, str] = {}
    """What the factory built into the vehicle, by image number: kept with the factory image for the dependencies it names."""
    image_public_key: Path
    """PEM, Ed25519: firmware images must be signed by it."""
    director_root: Path
    """The Director's Root metadata (JSON), pinned: its Targets key signs what may be installed."""
    decryption_key: Path | None = None
    """X25519 private key, 64 hexadecimal digits: opens artifacts encrypted for this ECU. None: it takes none."""
    slot_size_bytes: int = 0x100000
    max_boot_attempts: int = 3
    declared_ram_bytes: int = 4 * 1024 * 1024
    """What a rebuild from a patch may use."""
    control_host: str = "127.0.0.1"
    control_port: int
    trace: Path | None = None
    periodic: tuple[PeriodicFrame, ...] = ()
    """What its application sends by itself, on a SocketCAN interface."""
    faults: tuple[str, ...] = ()
    """Faults set from the start: "boot-fail", …"""


class TlsConfig(_Config):
    """PEM files of one end of a mutually authenticated connection."""

    ca: Path
    certificate: Path
    key: Path


class CloudConfig(_Config):
    """The cloud (``python -m otabench.cloud PLANE --config FILE``, PLANE: control, artifacts, events or all)."""

    state_dir: Path
    database_url: str
    """SQLAlchemy URL, e.g. ``sqlite:///runs/x/cloud.db``."""
    artifact_store: str
    """fsspec URL of a folder, e.g. ``file:///…/artifacts``."""
    keys_dir: Path
    """As ``otabench keys init`` makes it: director/*.pem, director/root.json, image/*.pem, tls/*."""
    grpc_host: str = "127.0.0.1"
    grpc_port: int
    tls: TlsConfig | None = None
    """None: plain text, on loopback only."""
    artifact_host: str = "127.0.0.1"
    artifact_port: int
    artifact_base_url: str
    """As vehicles reach the artifact server, e.g. ``http://127.0.0.1:9000/artifacts/``."""
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int
    embedded_broker: bool = False
    """The event plane runs amqtt itself (``python -m otabench.cloud events``) because mosquitto is not installed."""
    poll_interval_s: float = 10.0
    trace: Path | None = None
