"""The surroundings of a gateway in tests: two model ECUs, a control plane, an artifact server, a Director, and the real agent.

``asyncio.run`` a story: ``async with World.open(folder) as world: async with world.gateway() as agent: …``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bsdiff4

from otabench.bench.gateway.agent import Agent
from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.gateway.hmi.model import Choice, Decision, DecisionRefused, HmiState
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.artifact_server import ArtifactServer
from tests.bench.gateway.control_plane import ControlPlane
from tests.bench.gateway.director import Artifact, Director
from tests.bench.gateway.model_vehicle import ModelEcu, ModelVehicle, firmware
from tests.waiting import PATIENCE_S

VIN = "W0TABENCH00000001"
ENGINE = ModelEcu("engine", "ENG-0001", "engine-mcu-a")
ADAS = ModelEcu("adas", "ADA-0001", "adas-soc-b")
ECUS = [ENGINE, ADAS]
QUICK = GatewayTiming(
    poll_interval_s=0.2,
    retry_first_s=0.02,
    retry_max_s=0.1,
    later_s=0.2,
    ecu_lost_timeout_s=0.1,
    stage_attempts=2,
    conditions_poll_s=0.02,
    download_stall_s=0.4,
    download_min_bytes_per_s=2000.0,
)
OLD = {"engine": ("1.0.0", "CONFIRMED"), "adas": ("1.0.0", "CONFIRMED")}
NEW = {"engine": ("2.0.0", "CONFIRMED"), "adas": ("2.0.0", "CONFIRMED")}
HAPPY = [
    JobState.CONFIRMING,
    JobState.WAITING_FOR_APPROVAL,
    JobState.DOWNLOADING,
    JobState.INSTALLING,
    JobState.ACTIVATING,
    JobState.VERIFYING,
    JobState.SUCCEEDED,
]


class Killed(Exception):
    """Replaces SIGKILL within the test's process: everything stops where it is."""


@dataclass
class World:
    """Everything around one gateway."""

    folder: Path
    vehicle: ModelVehicle
    cloud: ControlPlane = field(default_factory=ControlPlane)
    artifacts: ArtifactServer = field(default_factory=ArtifactServer)
    director: Director = field(default_factory=Director)
    jobs: int = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator[World]:
        """Run cloud and artifact server, without the gateway."""
        world = cls(folder, ModelVehicle.build(folder / "vehicle", ECUS))
        (folder / "root.json").write_bytes(world.director.root())
        await world.cloud.start()
        await world.artifacts.start()
        world.cloud.artifact_base_url = world.artifacts.base_url
        try:
            yield world
        finally:
            await world.cloud.stop()
            await world.artifacts.stop()

    def config(self, **changes: Any) -> GatewayConfig:
        """Return the gateway's configuration, without a broker on its MQTT port."""
        fields: dict[str, Any] = {
            "vin": VIN,
            "ecus": tuple(
                EcuEndpoint(
                    name=ecu.name,
                    bus={"interface": "virtual", "channel": "none"},
                    request_id=0x7E0,
                    response_id=0x7E8,
                    serial=ecu.serial,
                    hardware_id=ecu.hardware_id,
                    security_secret="00" * 32,
                )
                for ecu in ECUS
            ),
            "state_dir": self.folder / "state",
            "director_root": self.folder / "root.json",
            "cloud_grpc": f"127.0.0.1:{self.cloud.port}",
            "mqtt_port": 1,
            "timing": QUICK,
            "trace": self.folder / "trace.jsonl",
        }
        return GatewayConfig(**{**fields, **changes})

    def manifest(
        self,
        *,
        version: str = "2.0.0",
        metadata_version: int | None = None,
        counter: int = 1,
        patch: bool = False,
        custom: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        lifetime_s: float = 3600.0,
        director: Director | None = None,
    ) -> dict[str, bytes]:
        """Return a manifest for the next job, and put its files on the artifact server.

        ``custom`` and ``target`` (of the engine) change fields.
        """
        artifacts = []
        for ecu in ECUS:
            image = firmware(ecu.hardware_id, version, security_counter=counter)
            path = f"images/{hashlib.sha256(image).hexdigest()}/{ecu.hardware_id}-{version}.bin"
            self.artifacts.files[path] = image
            fields: dict[str, Any] = {
                "ecu_serial": ecu.serial,
                "hardware_id": ecu.hardware_id,
                "version": version,
                "release_counter": counter,
            }
            if patch:
                fields["patch"] = self._patch(ecu, image, version)
            artifacts.append(Artifact(path, image, fields | ((target or {}) if ecu is ENGINE else {})))
        manifest_custom = {
            "vin": VIN,
            "job_id": f"job-{self.jobs + 1}",
            "campaign_id": "campaign-1",
            "campaign_name": "Autumn",
            "release_notes": "Better.",
            "approval_timeout_s": 0,
        } | (custom or {})
        return (director or self.director).bundle(
            artifacts, custom=manifest_custom, version=metadata_version or self.jobs + 1, lifetime_s=lifetime_s
        )

    def offer(self, bundle: dict[str, bytes] | None = None, **manifest: Any) -> str:
        """Let a job wait in the cloud, with the given manifest or the one of ``manifest``."""
        metadata = bundle or self.manifest(**manifest)
        self.jobs += 1
        self.cloud.offer(f"job-{self.jobs}", metadata)
        return self.cloud.job_id

    @asynccontextmanager
    async def gateway(self, *, killed_before: JobState | None = None, **config: Any) -> AsyncIterator[Agent]:
        """Run the agent during the block, or until it has persisted ``killed_before``."""

        def persisted(state: JobState) -> None:
            if state is killed_before:
                raise Killed

        settings = self.config(**config)
        trace = TraceWriter(settings.trace, component="gateway", vin=VIN)
        agent = Agent(settings, vehicle=self.vehicle, trace=trace, persisted=persisted, outage_limit_s=20.0)
        running = asyncio.create_task(agent.run())
        self.running = running
        try:
            yield agent
        finally:
            agent.leave_flash_running()
            running.cancel()
            try:
                await running
            except* (asyncio.CancelledError, Killed):
                pass
            await agent.close()
            trace.close()

    async def until(self, condition: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str = "") -> None:
        """Wait until the condition holds. Fail with the cloud's view if time runs out, or if the agent has died."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    if self.running.done() and not self.running.cancelled():
                        self.running.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(
                f"{what or 'not in time'}: cloud has {self.cloud.state} {self.cloud.reason!r}"
            ) from None

    async def until_killed(self) -> None:
        """Wait until the agent has stopped by ``killed_before``."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self.running})
        with contextlib.suppress(ExceptionGroup):
            self.running.result()

    async def install(self, agent: Agent) -> None:
        """Choose Install now as soon as the driver is asked."""
        await self.decide(agent, Decision.INSTALL)

    async def decide(self, agent: Agent, decision: Decision, **choice: str) -> None:
        """Decide as soon as the driver is asked, about what is shown then."""
        await self.until(lambda: shown(agent).question is not None, what="the driver is not asked")
        await agent.dashboard.decide(shown(agent).job_id or "", choose(agent, decision, **choice))

    async def reported(self, state: JobState, *, within_s: float = PATIENCE_S) -> None:
        """Wait until the cloud has received that state."""
        await self.until(lambda: self.cloud.state is state, what=f"never {state}", within_s=within_s)

    async def closed(self, agent: Agent) -> None:
        """Wait until the job is over in the gateway too."""
        await self.until(lambda: agent.store.open_job() is None, what="the job is not closed")

    def trusted(self) -> dict[str, bytes]:
        """Return the metadata that the gateway trusts, by file name."""
        folder = self.folder / "state" / "director"
        return {path.name: path.read_bytes() for path in folder.glob("*.json")} if folder.exists() else {}

    def trace(self) -> list[dict[str, Any]]:
        """Return the trace so far."""
        return [json.loads(line) for line in (self.folder / "trace.jsonl").read_text().splitlines()]

    def _patch(self, ecu: ModelEcu, image: bytes, version: str) -> dict[str, Any]:
        base = firmware(ecu.hardware_id, "1.0.0")
        patch = bsdiff4.diff(base, image)
        digest = hashlib.sha256(patch).hexdigest()
        path = f"patches/{digest}/{ecu.hardware_id}-1.0.0-{version}.bsdiff"
        self.artifacts.files[path] = patch
        return {
            "path": path,
            "length": len(patch),
            "sha256": digest,
            "base_version": "1.0.0",
            "base_sha256": hashlib.sha256(base).hexdigest(),
            "base_length": len(base),
        }


def choose(agent: Agent, decision: Decision, **choice: str) -> Choice:
    """Return a decision about what the page shows now."""
    who = {"session": "test", "pairing": "test"}
    return Choice.model_validate({"decision": decision, "offer": shown(agent).offer, **who, **choice})


def shown(agent: Agent) -> HmiState:
    """Return what the page shows."""
    return agent.dashboard.snapshot()


def obstacle(agent: Agent) -> str:
    """Return why nothing goes on, as the page shows it; empty where nothing hinders."""
    shown_ = shown(agent).obstacle
    return shown_.text if shown_ is not None else ""


__all__ = [
    "ADAS",
    "ECUS",
    "ENGINE",
    "HAPPY",
    "NEW",
    "OLD",
    "QUICK",
    "VIN",
    "DecisionRefused",
    "Killed",
    "World",
    "choose",
    "obstacle",
    "shown",
]
