"""The conditions of a campaign, as the driver, the cloud and the ECUs see them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.gateway.hmi.model import Decision, DecisionRefused
from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.job_states import JobState
from tests.bench.gateway.world import HAPPY, NEW, OLD, QUICK, World, shown

SOURCES = {
    Quantity.SPEED: ConditionSource(ecu="engine", identifier=0xF40D),
    Quantity.SUPPLY: ConditionSource(ecu="engine", identifier=0xF442, length=2, factor=0.001),
}
STANDSTILL = {"conditions": ["speed_km_h<=0", "supply_v>=12"], "conditions_limit_s": 600}


def met(agent: Any) -> list[bool]:
    return [each.is_met for each in shown(agent).conditions]


@pytest.mark.clause("R156 7.2.2.1.2", "R156 7.2.2.5")
def test_the_driver_sees_each_condition_and_installs_once_all_are_met(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES) as agent:
            world.vehicle.set_values(speed_km_h=50, supply_v=12.5)
            world.offer(custom=STANDSTILL)
            await world.until(lambda: met(agent) == [False, True], what="the conditions are not shown")
            speed = shown(agent).conditions[0]
            assert (speed.quantity, speed.sign, speed.limit, speed.value) == ("speed_km_h", "<=", 0, 50)
            with pytest.raises(DecisionRefused, match=r"speed_km_h is 50, must be at most 0") as refused:
                await world.decide(agent, Decision.INSTALL)
            assert refused.value.sentence == "The vehicle does not meet all conditions of this update yet."
            await world.reported(JobState.WAITING_FOR_APPROVAL)  # the report may still be on its way
            assert world.cloud.transitions == HAPPY[:2]
            world.vehicle.set_values(speed_km_h=0, supply_v=12.5)
            await world.until(
                lambda: met(agent) == [True, True], what="the vehicle stands, and the page does not show it"
            )
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            judged = [e["data"]["unmet"] for e in world.trace() if e["event"] == "conditions.judged"]
            # while the driver is asked, then before anything is written, and before anything is activated
            assert judged == [["speed_km_h is 50, must be at most 0"], [], [], []]

    asyncio.run(story())


def test_a_page_that_is_behind_does_not_start_an_update_of_a_moving_vehicle(tmp_path: Path) -> None:
    async def story() -> None:
        rarely = QUICK.model_copy(update={"conditions_poll_s": 60.0})
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES, timing=rarely) as agent:
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            world.offer(custom=STANDSTILL)
            await world.until(lambda: met(agent) == [True, True])
            world.vehicle.set_values(speed_km_h=3, supply_v=12)
            with pytest.raises(DecisionRefused, match="speed_km_h is 3"):
                await world.install(agent)
            assert met(agent) == [False, True], "the refusal brings the page up to date"
            assert world.vehicle.running() == OLD

    asyncio.run(story())


@pytest.mark.clause("R156 7.2.2.1.3", "R156 7.2.2.5")
@pytest.mark.parametrize("before", [JobState.INSTALLING, JobState.ACTIVATING])
def test_a_lost_condition_pauses_the_job_and_it_goes_on_when_the_condition_is_back(
    tmp_path: Path, before: JobState
) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            world.offer(custom=STANDSTILL)
            async with world.gateway(conditions=SOURCES, killed_before=before) as agent:
                await world.install(agent)
                await world.until_killed()
            world.vehicle.set_values(speed_km_h=9, supply_v=12)
            async with world.gateway(conditions=SOURCES) as agent:
                await world.until(lambda: shown(agent).is_paused, what="it does not pause")
                assert "activate" not in world.vehicle.calls()
                assert world.vehicle.running() == OLD
                world.vehicle.set_values(speed_km_h=0, supply_v=12)
                await world.reported(JobState.SUCCEEDED)
                assert world.vehicle.running() == NEW
                assert not shown(agent).is_paused

    asyncio.run(story())


@pytest.mark.parametrize("before", [JobState.INSTALLING, JobState.ACTIVATING])
def test_a_condition_that_does_not_come_back_ends_the_job_and_nothing_has_changed(
    tmp_path: Path, before: JobState
) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            world.offer(custom={**STANDSTILL, "conditions_limit_s": 1})
            async with world.gateway(conditions=SOURCES, killed_before=before) as agent:
                await world.install(agent)
                await world.until_killed()
            world.vehicle.set_values(supply_v=12)  # the ECU that knows the speed is silent
            async with world.gateway(conditions=SOURCES):
                await world.reported(JobState.FAILED)
            assert (
                world.cloud.reason == "conditions were not met within 1 s: speed_km_h is not known, must be at most 0"
            )
            assert "activate" not in world.vehicle.calls()
            assert world.vehicle.running() == OLD

    asyncio.run(story())


@pytest.mark.clause("R156 7.2.2.1.3")
def test_an_activation_that_has_begun_is_finished_whatever_the_vehicle_does(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            world.offer(custom=STANDSTILL)
            async with world.gateway(conditions=SOURCES, killed_before=JobState.ACTIVATING) as agent:
                await world.install(agent)
                await world.until_killed()
                agent.store.note_activation_begun(world.cloud.job_id)
            world.vehicle.set_values(speed_km_h=9, supply_v=12)
            async with world.gateway(conditions=SOURCES):
                await world.reported(JobState.SUCCEEDED)
            assert world.vehicle.running() == NEW

    asyncio.run(story())


def test_a_condition_that_the_vehicle_cannot_judge_is_refused_before_the_driver_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES):
            world.offer(custom={"conditions": ["charge_percent>=30", "speed_km_h<=0"]})
            await world.reported(JobState.REJECTED)
            assert world.cloud.reason == (
                "manifest refused: the campaign has conditions on charge_percent, which this vehicle does not measure"
            )

    asyncio.run(story())


def test_a_condition_of_an_unknown_kind_is_refused_by_its_field(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES):
            world.offer(custom={"conditions": ["mood>=1"]})
            await world.reported(JobState.REJECTED)
            assert "custom field conditions.0 is wrong" in world.cloud.reason
            assert "'mood' is not a quantity" in world.cloud.reason

    asyncio.run(story())
