"""The gateway's configuration: one JSON file, written by the launcher and read by ``python -m otabench.bench.gateway --config FILE``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from otabench.bench.backoff import Backoff
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.inhibit import InhibitFrame
from otabench.proto.process_config import ProcessConfig, TlsConfig
from otabench.proto.time_zone import TimeZone


class GatewayTiming(ProcessConfig):
    """Times of the gateway, in seconds."""

    poll_interval_s: float = 10.0
    retry_first_s: float = 0.5
    retry_max_s: float = 10.0
    later_s: float = 3600.0
    boot_timeout_s: float = 20.0
    """How long an ECU may take from reset to running its trial image, failed boots included."""
    ecu_lost_timeout_s: float = 10.0
    """How long to wait for a silent ECU before its stage attempt counts as failed."""
    stage_attempts: int = 3
    soak_s: float | None = Field(default=None, ge=0)
    """How long all trial images must run and answer before the first is confirmed. None: the flash profile's time."""
    conditions_poll_s: float = Field(default=2.0, gt=0)
    """Interval between two readings of a campaign's conditions, while the driver is asked or a condition is lost. Each reading is one
    short request for each quantity."""
    download_min_bytes_per_s: float = 1024.0
    download_stall_s: float = 10.0

    def backoff(self) -> Backoff:
        """Return the pauses between attempts of an operation that is repeated until it succeeds."""
        return Backoff(first_s=self.retry_first_s, max_s=self.retry_max_s)


class GatewayConfig(ProcessConfig):
    """The gateway of one vehicle."""

    vin: str
    ecus: tuple[EcuEndpoint, ...]
    state_dir: Path
    """Folder of database, downloads and verified metadata. It survives the process."""
    director_root: Path
    """File of the Director's Root, pinned at provisioning."""
    image_root: Path | None = None
    """File of the Image repository's Root, pinned at provisioning. None: the Director alone is trusted."""
    report_key: Path | None = None
    """File of the Ed25519 private key that signs the vehicle's version reports. None: it sends none."""
    cloud_grpc: str
    """host:port"""
    tls: TlsConfig | None = None
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    mqtt_tls: TlsConfig | None = None
    """This vehicle's certificate. None: no TLS, which is possible on loopback only."""
    hmi_host: str = "127.0.0.1"
    hmi_port: int = 8080
    hmi_pairing_code: str = ""
    """The code that pairs a display (``hmi.pairing``). Empty: the one of the file ``hmi.code`` in the state folder, made at the first
    start."""
    conditions: dict[Quantity, ConditionSource] = Field(default_factory=dict)
    """Where the vehicle takes the quantities from that a campaign's conditions are about."""
    inhibit: InhibitFrame | None = None
    """The frame that keeps the vehicle from being driven while it is updated. None: nothing is sent."""
    time_zone: TimeZone = "UTC"
    """The vehicle's time zone, by its IANA name. The driver schedules an update in it, whatever zone a display has."""
    line_payload_bytes_per_s: float = 28_000.0
    """Payload rate of a bus, used to compute the expected duration that the driver sees."""
    timing: GatewayTiming = GatewayTiming()
    trace: Path | None = None
    stop_before: str = ""
    """For tests: a job state. The process kills itself (SIGKILL) right after persisting this state and before acting on it."""

    @model_validator(mode="after")
    def _events_are_encrypted_outside_loopback(self) -> Self:
        if self.mqtt_tls is None and self.mqtt_host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(f"mqtt_host {self.mqtt_host!r}: without mqtt_tls the broker must be on loopback")
        return self


def bus_key(ecu: EcuEndpoint) -> str:
    """Return a key for an ECU's bus. Buses have no names here, so two ECUs share a bus if their bus settings are equal."""
    return json.dumps(ecu.bus, sort_keys=True, default=str)
