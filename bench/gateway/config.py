"""The gateway's configuration: one JSON file (``python -m otabench.bench.gateway --config FILE``), written by the launcher."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from otabench.bench.backoff import Backoff
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto.process_config import ProcessConfig, TlsConfig


class GatewayTiming(ProcessConfig):
    """Times of the gateway, in seconds."""

    poll_interval_s: float = 10.0
    retry_first_s: float = 0.5
    retry_max_s: float = 10.0
    later_s: float = 3600.0
    boot_timeout_s: float = 20.0
    """How long an ECU may take from reset to running its trial image, failed boots included."""
    ecu_lost_timeout_s: float = 10.0
    """How long a silent ECU is tried again before its stage attempt counts as failed."""
    stage_attempts: int = 3
    soak_s: float | None = Field(default=None, ge=0)
    """How long all trial images run and answer before the first is confirmed. None: the flash profile's time."""
    download_min_bytes_per_s: float = 1024.0
    download_stall_s: float = 10.0

    def backoff(self) -> Backoff:
        """Return the waiting times of one thing that is tried again until it works."""
        return Backoff(first_s=self.retry_first_s, max_s=self.retry_max_s)


class GatewayConfig(ProcessConfig):
    """The gateway of one vehicle."""

    vin: str
    ecus: tuple[EcuEndpoint, ...]
    state_dir: Path
    """Database, downloads and the verified metadata; survives the process."""
    director_root: Path
    """The Director's Root, pinned at provisioning."""
    cloud_grpc: str
    """host:port"""
    tls: TlsConfig | None = None
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    hmi_host: str = "127.0.0.1"
    hmi_port: int = 8080
    line_payload_bytes_per_s: float = 28_000.0
    """Payload that a bus carries, for the expected time that the driver sees."""
    timing: GatewayTiming = GatewayTiming()
    trace: Path | None = None
    stop_before: str = ""
    """A job state: the process kills itself (SIGKILL) right after persisting it and before acting. For tests."""


def bus_key(ecu: EcuEndpoint) -> str:
    """Return what identifies an ECU's bus: two ECUs share a bus where their bus settings are equal, as buses have no names here."""
    return json.dumps(ecu.bus, sort_keys=True, default=str)
