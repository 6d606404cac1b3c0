"""The gateway is killed (SIGKILL) at every statement of a job, and the next gateway ends the job.

A statement is a line of ``bench/gateway/jobs`` (``Point``). An undisturbed job shows which lines run and how often; the gateway is killed
before each of them runs for the first time, and for the second. It is a process of its own: the agent with its store on disk, beside a
control plane and an artifact server of this process, and a vehicle in files that outlives it (``tests.bench.gateway.world``). No bus is
needed: ``otabench perf message-cut`` sweeps what the ECUs do with an interrupted exchange.

After each kill the job must end, in time, as the scenario demands, in gateway, cloud and vehicle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from otabench.bench.deadline import Deadline
from otabench.bench.gateway import jobs
from otabench.bench.gateway.agent import Agent
from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused
from otabench.proto.job_states import JobState, is_final
from otabench.proto.trace import TraceWriter
from tests.bench.gateway.model_vehicle import ModelVehicle
from tests.bench.gateway.world import NEW, OLD, VIN, World, choose, shown

FOLDER: Final = str(Path(jobs.__file__).parent) + os.sep
TIMES: Final = 2
"""Kill before a line runs for the first and for the second time: of two ECUs, the second one finds the first one done."""
LIMIT_S: Final = 60.0
"""How long a job may take before it counts as stuck."""
_FORKS: Final = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Point:
    """Before a line runs for the ``time``-th time."""

    file: str
    line: int
    time: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.time}"


@dataclass(frozen=True)
class Scenario:
    """One kind of job: what the cloud offers, what the vehicle does, and the end."""

    manifest: dict[str, Any]
    end: JobState
    versions: dict[str, tuple[str, str]]
    faults: dict[str, Any]


SCENARIOS: Final = {
    "plain": Scenario({}, JobState.SUCCEEDED, NEW, {}),
    # The driver is asked twice, and the vehicle has conditions.
    "asked": Scenario(
        {"custom": {"driver": {"asks_before_download": True}, "conditions": ["speed_km_h<=0"]}, "patch": True},
        JobState.SUCCEEDED,
        NEW,
        {},
    ),
    "reverted": Scenario({}, JobState.ROLLED_BACK, OLD, {"boot-fail": True}),
}


@dataclass(frozen=True)
class Outcome:
    """What came of one point. ``problem`` is empty if the job ended as it should."""

    was_killed: bool
    problem: str = ""


class _Statements:
    """Counts the lines of ``jobs`` that run, in all threads, and kills the process before the wanted one."""

    def __init__(self, point: Point | None) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self._point = point

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        if event == "line":
            here = (frame.f_code.co_filename.removeprefix(FOLDER), frame.f_lineno)
            self.counts[here] += 1
            if self._point is not None and self._point == Point(*here, self.counts[here]):
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def _gateway(config: GatewayConfig, point: Point | None, counts: Path | None) -> None:
    """Run the gateway as a process: until it is killed, or the job is over and it is ended."""
    logging.getLogger("gateway").setLevel(logging.ERROR)
    statements = _Statements(point)
    if point is not None or counts is not None:
        threading.settrace(statements)
        sys.settrace(statements)
    asyncio.run(_agent(config))
    sys.settrace(None)
    if counts is not None:
        counts.write_text(json.dumps([[*where, count] for where, count in sorted(statements.counts.items())]))
    # A normal exit would wait for the worker's thread.
    os._exit(0)


async def _agent(config: GatewayConfig) -> None:
    trace = TraceWriter(config.trace, component="gateway", vin=VIN)
    agent = Agent(config, vehicle=ModelVehicle(config.state_dir.parent / "vehicle"), trace=trace)
    running = asyncio.create_task(agent.run())
    while not running.done() and not (config.state_dir.parent / "over").exists():
        if shown(agent).question is not None:
            # Refused where the question has changed meanwhile, or a condition was not read yet.
            with contextlib.suppress(DecisionRefused):
                await agent.dashboard.decide(shown(agent).job_id or "", choose(agent, Decision.INSTALL))
        if agent.store.open_job() is None and agent.store.ended_jobs():
            (config.state_dir.parent / "closed").touch()
        await asyncio.sleep(0.01)
    if running.done():
        running.result()


async def run_point(scenario: Scenario, point: Point | None, *, counts: Path | None = None) -> Outcome:
    """Run one job, kill its gateway at the point, and let another one end the job."""
    with tempfile.TemporaryDirectory() as folder:
        async with World.open(Path(folder)) as world:
            world.vehicle.set_values(speed_km_h=0.0)
            world.vehicle.set_fault("adas", **scenario.faults)
            world.offer(**scenario.manifest)
            config = world.config(conditions={"speed_km_h": {"value": 0}})
            status = await _run(world, config, point, counts)
            was_killed = status == -signal.SIGKILL
            if was_killed:
                status = await _run(world, config, None, None)
            return Outcome(was_killed, _problem(world, scenario, status))


async def _run(world: World, config: GatewayConfig, point: Point | None, counts: Path | None) -> int | None:
    """Run a gateway until it ends by itself, or the job is over. Return its status; None: the job was stuck."""
    process = _FORKS.Process(target=_gateway, args=(config, point, counts), daemon=True)
    process.start()
    deadline = Deadline(LIMIT_S)
    while process.is_alive() and not deadline.has_passed():
        if is_final(world.cloud.state) and (world.folder / "closed").exists():
            (world.folder / "over").touch()
        await asyncio.sleep(0.01)
    status = process.exitcode
    if status is None:
        process.kill()
    await asyncio.to_thread(process.join)
    process.close()
    return status


def _problem(world: World, scenario: Scenario, status: int | None) -> str:
    if status is None:
        return f"stuck: the cloud has {world.cloud.state}, the vehicle runs {world.vehicle.running()}"
    if status != 0:
        return f"the next gateway ended with status {status}"
    if world.cloud.state is not scenario.end:
        return f"the job ended as {world.cloud.state} ({world.cloud.reason}) instead of {scenario.end}"
    if world.vehicle.running() != scenario.versions:
        return f"the vehicle runs {world.vehicle.running()}"
    return "" if "finish" in world.vehicle.calls() else "the vehicle was never told that the job is over"


async def points_of(scenario: Scenario) -> list[Point]:
    """Return the points of an undisturbed job."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        outcome = await run_point(scenario, None, counts=counts)
        if outcome.problem:
            raise RuntimeError(f"the undisturbed job: {outcome.problem}")
        found = json.loads(counts.read_text())
    return [Point(file, line, time) for file, line, count in found for time in range(1, min(count, TIMES) + 1)]


async def sweep(
    chosen: Sequence[tuple[str, Point]], *, at_once: int, limit_s: float, tell: Callable[[str], None]
) -> list[tuple[str, Point, Outcome]]:
    """Run the points, some at the same time, in a seeded order, so that those of a sweep that is ended early are a sample."""
    free, deadline = asyncio.Semaphore(at_once), Deadline(limit_s)
    ended: list[tuple[str, Point, Outcome]] = []

    async def run(name: str, point: Point) -> None:
        async with free:
            if deadline.has_passed():
                return
            outcome = await run_point(SCENARIOS[name], point)
        ended.append((name, point, outcome))
        if outcome.problem:
            tell(f"{name}:{point}: {outcome.problem}")
        if len(ended) % 100 == 0:
            tell(f"{len(ended)} of {len(chosen)}")

    await asyncio.gather(*(run(name, point) for name, point in chosen))
    return ended


# Imported once, in the process from which all gateways are forked: a gateway then starts within milliseconds.
_FORKS.set_forkserver_preload([__name__])
