"""The gateway is killed in every state and in the middle of calls. The next one resumes where it was."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from otabench.bench.gateway.agent import Agent
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, Ending
from otabench.bench.gateway.store import Facts
from otabench.proto.job_states import JobState
from tests.bench.gateway.world import HAPPY, NEW, OLD, World, shown

_ON_THE_WAY = [JobState.CREATED, *HAPPY]
_AFTER_APPROVAL = {*HAPPY[2:]}


@pytest.mark.parametrize("state", _ON_THE_WAY)
def test_killed_right_after_persisting_a_state_it_goes_on_to_succeeded(tmp_path: Path, state: JobState) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=state) as agent:
                if state in _AFTER_APPROVAL:
                    await _install_or_die(world, agent, dies=state is JobState.DOWNLOADING)
                await world.until_killed()
                record = agent.store.open_job()
                assert record is not None
                assert record.state is state
            calls_before = world.vehicle.calls().count("stage")
            async with world.gateway() as agent:
                if state not in _AFTER_APPROVAL:
                    await world.install(agent)
                await world.reported(JobState.SUCCEEDED)
                await world.closed(agent)
            assert world.cloud.transitions == HAPPY
            assert world.vehicle.running() == NEW
            assert world.vehicle.calls().count("stage") == 1
            assert calls_before <= 1
            assert "finish" in world.vehicle.calls()

    asyncio.run(story())


def test_killed_at_every_state_in_turn_it_still_succeeds(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            percents = []
            for state in _ON_THE_WAY:
                async with world.gateway(killed_before=state) as agent:
                    if state is JobState.DOWNLOADING:
                        await _install_or_die(world, agent, dies=True)
                    await world.until_killed()
                    percents.append(shown(agent).progress_percent)
            async with world.gateway() as agent:
                await world.reported(JobState.SUCCEEDED)
                await world.closed(agent)
                percents.append(shown(agent).progress_percent)
            assert percents == sorted(percents)
            assert percents[-1] == 100
            assert 0 < percents[-2] < 100
            assert world.cloud.transitions == HAPPY
            assert world.vehicle.running() == NEW

    asyncio.run(story())


_ENDINGS = {
    JobState.ROLLED_BACK: Ending.UNDONE,
    JobState.FAILED: Ending.UNCHANGED,
    JobState.REJECTED: Ending.DECLINED,
}


@pytest.mark.parametrize("killed", _ENDINGS)
def test_killed_at_an_end_it_still_tells_and_tidies_up(tmp_path: Path, killed: JobState) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            if killed is JobState.ROLLED_BACK:
                world.vehicle.set_fault("adas", **{"boot-fail": True})
            if killed is JobState.FAILED:
                world.vehicle.set_fault("adas", refuse={"0202": 0x72})
            world.offer()
            async with world.gateway(killed_before=killed) as agent:
                if killed is JobState.REJECTED:
                    with pytest.raises(DecisionRefused, match="stopping"):
                        await world.decide(agent, Decision.DECLINE)
                else:
                    await world.install(agent)
                await world.until_killed()
                assert "finish" not in world.vehicle.calls()
            async with world.gateway() as agent:
                await world.reported(killed)
                await world.closed(agent)
                entry = shown(agent).history[0]
                assert (entry.ending, shown(agent).ending) == (_ENDINGS[killed], _ENDINGS[killed])
            assert world.vehicle.running() == OLD
            assert world.vehicle.calls().count("finish") == 1

    asyncio.run(story())


def test_dropped_in_the_middle_of_staging_it_stages_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_fault("adas", silent=None)
            world.vehicle.set_fault("engine", pace_s=0.05)
            world.offer()
            async with world.gateway() as agent:
                await world.install(agent)
                await world.until(lambda: any(ecu.phase == "transferring" for ecu in shown(agent).ecus))
            await asyncio.sleep(0.4)  # the model's transfer, which no process end stops here, runs out
            world.vehicle.set_fault("engine", pace_s=None)
            async with world.gateway() as agent:
                await world.reported(JobState.SUCCEEDED)
            assert world.vehicle.running() == NEW
            assert world.cloud.transitions == HAPPY

    asyncio.run(story())


def test_killed_on_the_way_back_it_goes_on_back_and_not_forward(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=JobState.VERIFYING) as agent:
                await world.install(agent)
                await world.until_killed()
                agent.store.note("job-1", Facts(revert_reason="adas: rolled back"))
            assert world.vehicle.running()["engine"] == ("2.0.0", "TRIAL")
            async with world.gateway():
                await world.reported(JobState.ROLLED_BACK)
            assert world.cloud.reason == "adas: rolled back"
            assert world.vehicle.running() == OLD
            assert "confirm" not in world.vehicle.calls()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("state", "end"), [(JobState.INSTALLING, JobState.FAILED), (JobState.VERIFYING, JobState.ROLLED_BACK)]
)
def test_a_state_that_kills_the_gateway_every_time_is_given_up(tmp_path: Path, state: JobState, end: JobState) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=state) as agent:
                await world.install(agent)
                await world.until_killed()
                agent.store.note("job-1", Facts(resumes=20))
            async with world.gateway():
                await world.reported(end)
            assert world.cloud.reason == f"the gateway was restarted 21 times in {state}"
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_waiting_for_the_driver_survives_any_number_of_restarts(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=JobState.WAITING_FOR_APPROVAL) as agent:
                await world.until_killed()
                agent.store.note("job-1", Facts(resumes=1000))
            async with world.gateway() as agent:
                await world.install(agent)
                await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_later_survives_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            timing = world.config().timing.model_copy(update={"later_s": 600.0})
            async with world.gateway(timing=timing) as agent:
                await world.decide(agent, Decision.LATER)
                until = shown(agent).deferred_until
            async with world.gateway(timing=timing) as agent:
                await world.until(lambda: shown(agent).job_state is JobState.WAITING_FOR_APPROVAL)
                assert shown(agent).deferred_until == until

    asyncio.run(story())


def test_a_gateway_that_lost_its_state_ends_the_job_that_the_cloud_still_has(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway() as agent:
                await world.reported(JobState.WAITING_FOR_APPROVAL)
            async with world.gateway(state_dir=tmp_path / "empty") as agent:
                await world.reported(JobState.FAILED)
                await world.closed(agent)
            assert world.cloud.reason == "the gateway has lost its record of this job"
            assert world.vehicle.running() == OLD

    asyncio.run(story())


async def _install_or_die(world: World, agent: Agent, *, dies: bool) -> None:
    """A gateway that dies right after the driver chose Install does not confirm the choice."""
    if not dies:
        await world.install(agent)
        return
    with pytest.raises(DecisionRefused, match="stopping"):
        await world.install(agent)
