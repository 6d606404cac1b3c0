"""Control plane, artifact server or broker are away, at the start or during a job. The job waits or continues, and does not fail."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otabench.proto.job_states import JobState
from tests.bench.gateway.artifact_server import Fault
from tests.bench.gateway.world import HAPPY, NEW, OLD, QUICK, World, obstacle, shown


def test_the_control_plane_comes_up_after_the_gateway(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            await world.cloud.stop()
            async with world.gateway() as agent:
                await world.until(lambda: shown(agent).cloud_reachable is False, what="not shown as away")
                world.offer()
                await world.cloud.start()
                await world.install(agent)
                await world.reported(JobState.SUCCEEDED)
                assert shown(agent).cloud_reachable
                events = [e["event"] for e in world.trace() if e["event"].startswith("cloud.")]
                assert events == ["cloud.unreachable", "cloud.reachable"]

    asyncio.run(story())


def test_without_the_control_plane_the_job_goes_on_and_is_told_of_later_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()
            await world.reported(JobState.WAITING_FOR_APPROVAL)
            await world.cloud.stop()
            await world.install(agent)
            await world.closed(agent)
            assert world.vehicle.running() == NEW
            assert world.cloud.state is JobState.WAITING_FOR_APPROVAL
            await world.cloud.start()
            await world.reported(JobState.SUCCEEDED)
            assert world.cloud.transitions == HAPPY

    asyncio.run(story())


def test_what_was_not_told_survives_a_restart_without_the_control_plane(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=JobState.VERIFYING) as agent:
                await world.until(lambda: world.cloud.state is JobState.WAITING_FOR_APPROVAL)
                await world.cloud.stop()
                await world.install(agent)
                await world.until_killed()
            async with world.gateway() as agent:
                await world.closed(agent)
                assert world.cloud.state is JobState.WAITING_FOR_APPROVAL
                await world.cloud.start()
                await world.reported(JobState.SUCCEEDED)
            assert world.cloud.transitions == HAPPY

    asyncio.run(story())


def test_the_control_plane_goes_before_it_gave_the_manifest(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=JobState.CONFIRMING):
                await world.until_killed()
            await world.cloud.stop()
            async with world.gateway() as agent:
                await world.until(lambda: shown(agent).cloud_reachable is False)
                assert shown(agent).job_state is JobState.CONFIRMING
                await world.cloud.start()
                await world.install(agent)
                await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_the_artifact_server_is_absent_and_comes(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            await world.artifacts.stop()
            world.offer()
            await world.install(agent)
            await world.reported(JobState.DOWNLOADING)
            await asyncio.sleep(0.3)
            assert shown(agent).job_state is JobState.DOWNLOADING
            await world.artifacts.start()
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_the_artifact_server_dies_in_the_middle_and_the_download_resumes(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            bundle = world.manifest()
            first = next(iter(world.artifacts.files))
            world.artifacts.faults = {first: [Fault.DIES]}
            world.offer(bundle)
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            ranges = [asked for path, asked in world.artifacts.requests if path == first]
            assert ranges == ["", f"bytes={len(world.artifacts.files[first]) // 2}-"]
            assert world.artifacts.statuses[:2] == [200, 206]

    asyncio.run(story())


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.BIT_FLIPPED, Fault.TOO_LONG, Fault.ENDLESS])
def test_a_file_that_is_not_the_promised_one_never_touches_an_ecu(tmp_path: Path, fault: Fault) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            bundle = world.manifest()
            world.artifacts.faults = {path: [fault] * 10 for path in world.artifacts.files}
            world.offer(bundle)
            await world.install(agent)
            await world.reported(JobState.FAILED)
            assert world.cloud.reason.startswith("download refused: images/")
            assert "stage" not in world.vehicle.calls()
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_an_artifact_server_that_stays_away_ends_the_job_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            bundle = world.manifest()
            world.artifacts.faults = {path: [Fault.DRIPS] * 10 for path in world.artifacts.files}
            timing = QUICK.model_copy(update={"download_stall_s": 0.1})
            async with world.gateway(timing=timing) as agent:
                world.offer(bundle)
                await world.install(agent)
                await world.reported(JobState.TIMED_OUT)
                assert "less than 2000" in world.cloud.reason

    asyncio.run(story())


def test_a_cloud_that_refuses_the_vehicle_is_shown(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.cloud.refuse_check_in = "unknown-vehicle: not registered"
            async with world.gateway() as agent:
                await world.until(lambda: "not registered" in obstacle(agent))
                assert shown(agent).cloud_reachable

    asyncio.run(story())


def test_a_broker_that_is_away_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            await world.until(lambda: len(world.cloud.check_ins) >= 3)
            world.offer()
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert sum("broker" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.mosquitto
def test_a_message_wakes_the_gateway_before_its_poll_is_due_and_a_broker_may_come_back(tmp_path: Path) -> None:
    port = _free_port()

    async def story() -> None:
        timing = QUICK.model_copy(update={"poll_interval_s": 60.0})
        async with World.open(tmp_path) as world, world.gateway(mqtt_port=port, timing=timing) as agent:
            await world.until(lambda: len(world.cloud.check_ins) == 1)
            for round_ in (1, 2):
                with _mosquitto(tmp_path, port):
                    seen = len(world.cloud.check_ins)
                    await world.until(lambda s=seen: len(world.cloud.check_ins) > s)  # type: ignore[misc]
                    seen = len(world.cloud.check_ins)
                    topic = "otabench/v1/vehicles/W0TABENCH00000001/update-available"
                    publish = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-m", f"round {round_}"]
                    if shutil.which("mosquitto_pub") is None:
                        return
                    await (await asyncio.create_subprocess_exec(*publish)).wait()
                    await world.until(lambda s=seen: len(world.cloud.check_ins) > s)  # type: ignore[misc]
            assert shown(agent).cloud_reachable

    asyncio.run(story())


@contextmanager
def _mosquitto(folder: Path, port: int) -> Iterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    broker = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        broker.terminate()
        broker.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
