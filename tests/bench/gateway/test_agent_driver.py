"""What the driver decides, and what it binds: consent, appointments, reminders, a download of its own, and cancel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from otabench.bench.gateway.agent import Agent
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, Ending, Refusal
from otabench.bench.gateway.jobs import appointments
from otabench.bench.gateway.jobs.driver_records import DriverRecords
from otabench.bench.gateway.jobs.measured_rates import MeasuredRates
from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.consent import Question
from otabench.proto.job_states import JobState
from tests.bench.gateway.world import HAPPY, NEW, OLD, World, choose, shown

SOURCES = {
    Quantity.SPEED: ConditionSource(ecu="engine", identifier=0xF40D),
    Quantity.SUPPLY: ConditionSource(ecu="engine", identifier=0xF442, length=2, factor=0.001),
}
STANDSTILL = {"conditions": ["speed_km_h<=0", "supply_v>=12"], "conditions_limit_s": 600}
TEXTS = {"de": {"purpose": "Wichtig."}}


def consents(world: World) -> list[dict[str, Any]]:
    return [e["data"]["consent"] for e in world.trace() if e["event"] == "driver.consent"]


async def refused(world: World, agent: Agent, decision: Decision, **choice: str) -> Refusal:
    """Return why a decision is refused."""
    with pytest.raises(DecisionRefused) as refusal:
        await world.decide(agent, decision, **choice)
    return refusal.value.kind


def in_zone(seconds: float) -> str:
    """Return a moment from now as the page sends it, in the vehicle's zone."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(timespec="microseconds")


async def schedule_soon(world: World, agent: Agent) -> None:
    """Make an appointment in half a second: a busy machine may take a part of it before the gateway reads it."""
    await world.until(lambda: shown(agent).question is not None, what="the driver is not asked")
    await world.decide(agent, Decision.SCHEDULE, when=in_zone(0.5))


@pytest.mark.clause("R156 7.2.2.2")
def test_a_consent_records_who_agreed_to_what_and_when(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES) as agent:
            world.vehicle.set_values(speed_km_h=0, supply_v=12.5)
            world.offer(custom={**STANDSTILL, "texts": TEXTS})
            await world.decide(agent, Decision.INSTALL, language="de")
            await world.reported(JobState.SUCCEEDED)
            (consent,) = consents(world)
            assert consent["who"] == {"session": "test", "pairing": "test"}
            assert consent["shown"]["question"] == "download and install"
            assert consent["shown"]["texts"] | {"contact": ""} == {
                "name": "Autumn",
                "release_notes": "Better.",
                "purpose": "Wichtig.",
                "unavailable": "",
                "instructions": "",
                "obligation": "",
                "contact": "",
            }
            assert [(each["condition"], each["value"]) for each in consent["conditions"]] == [
                ("speed_km_h<=0", 0.0),
                ("supply_v>=12", 12.5),
            ]

    asyncio.run(story())


def test_a_consent_to_what_is_not_shown_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(custom={"texts": TEXTS})
            for choice in ({"offer": ""}, {"offer": "0" * 64}, {"language": "fr"}):
                assert await refused(world, agent, Decision.INSTALL, **choice) is Refusal.SHOWN_DIFFERENTLY
            assert consents(world) == []
            await world.reported(JobState.WAITING_FOR_APPROVAL)  # the report may still be on its way
            assert world.cloud.transitions == HAPPY[:2]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("state", "change", "reason"),
    [
        (JobState.DOWNLOADING, {}, "there is no consent of the driver"),
        (JobState.DOWNLOADING, {"manifest_sha256": "0" * 64}, "the consent is for another manifest"),
        (JobState.INSTALLING, {"valid_until": "2026-01-01T00:00:00Z"}, "the consent expired at 2026-01-01"),
    ],
)
def test_nothing_goes_on_with_a_consent_that_is_worth_nothing(
    tmp_path: Path, state: JobState, change: dict[str, str], reason: str
) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer()
            async with world.gateway(killed_before=state) as agent:
                with contextlib.suppress(DecisionRefused):  # a gateway that stops does not confirm the decision
                    await world.install(agent)
                await world.until_killed()
                records = DriverRecords(agent.store.engine)
                envelope = json.loads(records.consent("job-1", Question.BOTH) or b"")
                if change:
                    altered = {**envelope, "consent": {**envelope["consent"], **change}}
                    records.keep("job-1", Question.BOTH, json.dumps(altered).encode(), None)
                else:
                    records.withdraw("job-1", Question.BOTH)
            async with world.gateway():
                await world.reported(JobState.FAILED)
            assert reason in world.cloud.reason
            assert world.vehicle.running() == OLD
            assert "stage" not in world.vehicle.calls()

    asyncio.run(story())


def test_an_appointment_survives_a_restart_and_waits_for_the_conditions(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_values(speed_km_h=50, supply_v=12)
            world.offer(custom=STANDSTILL)
            async with world.gateway(conditions=SOURCES) as agent:
                await schedule_soon(world, agent)
                assert shown(agent).start_from is not None
            async with world.gateway(conditions=SOURCES) as agent:
                await world.until(lambda: shown(agent).conditions, what="the time came, and no condition was read")
                assert (shown(agent).start_from or time.time()) < time.time()
                assert not shown(agent).conditions[0].is_met
                assert world.vehicle.running() == OLD
                world.vehicle.set_values(speed_km_h=0, supply_v=12)
                await world.reported(JobState.SUCCEEDED)
                assert world.vehicle.running() == NEW
            (consent,) = consents(world)
            assert not consent["conditions"][0]["is_met"], "as they were when the driver agreed"
            assert consent["start_from"] < consent["start_by"] < consent["valid_until"]

    asyncio.run(story())


def test_an_appointment_that_passes_is_given_up_and_the_driver_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appointments, "TRY_FOR", timedelta(seconds=0.2))

    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES) as agent:
            world.vehicle.set_values(speed_km_h=50, supply_v=12)
            world.offer(custom=STANDSTILL)
            await schedule_soon(world, agent)
            await world.until(lambda: shown(agent).is_appointment_missed, what="the appointment does not end")
            assert shown(agent).start_from is None
            assert DriverRecords(agent.store.engine).consent("job-1", Question.BOTH) is None
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            await world.until(lambda: shown(agent).conditions[0].is_met)
            assert world.cloud.transitions == HAPPY[:2], "it does not begin without a new consent"
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_an_appointment_beyond_the_offer_or_in_the_past_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()  # its manifest expires in an hour
            for when, kind in (
                (in_zone(7200), Refusal.TOO_FAR),
                (in_zone(-60), Refusal.TIME_PASSED),
                ("soon", Refusal.NO_TIME),
            ):
                assert await refused(world, agent, Decision.SCHEDULE, when=when) is kind
            assert consents(world) == []

    asyncio.run(story())


def test_later_is_limited_by_the_campaign_and_counted_across_restarts(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.offer(custom={"driver": {"max_reminders": 2}})
            for left in (1, 0):
                async with world.gateway() as agent:
                    await world.decide(agent, Decision.LATER)
                    assert shown(agent).reminders_left == left
            async with world.gateway() as agent:
                assert await refused(world, agent, Decision.LATER) is Refusal.NO_REMINDERS
                await world.decide(agent, Decision.DECLINE, reason="no time")
                await world.reported(JobState.REJECTED)
            assert world.cloud.reason == "the driver declined: no time"

    asyncio.run(story())


def test_an_update_that_must_be_installed_cannot_be_declined_nor_put_off_beyond_its_date(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            install_by = int(time.time()) + 1
            world.offer(custom={"driver": {"install_by": install_by}})
            assert await refused(world, agent, Decision.DECLINE) is Refusal.MUST_BE_INSTALLED
            assert shown(agent).rules.install_by == install_by
            await world.until(lambda: time.time() > install_by)
            assert await refused(world, agent, Decision.LATER) is Refusal.MUST_BE_INSTALLED
            assert world.vehicle.running() == OLD, "not even then without consent"
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_download_and_installation_are_asked_about_separately(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(conditions=SOURCES) as agent:
            world.vehicle.set_values(speed_km_h=50, supply_v=12)
            world.offer(custom={**STANDSTILL, "driver": {"asks_before_download": True}})
            await world.until(lambda: shown(agent).question is Question.DOWNLOAD)
            await world.install(agent)  # a moving vehicle may download
            await world.until(lambda: shown(agent).question is Question.INSTALL, what="not asked to install")
            assert shown(agent).job_state is JobState.DOWNLOADING
            assert await refused(world, agent, Decision.INSTALL) is Refusal.NOT_READY
            world.vehicle.set_values(speed_km_h=0, supply_v=12)
            await world.until(lambda: all(each.is_met for each in shown(agent).conditions))
            await agent.dashboard.decide("job-1", choose(agent, Decision.INSTALL))
            await world.reported(JobState.SUCCEEDED)
            assert [each["shown"]["question"] for each in consents(world)] == ["download", "install"]
            assert world.cloud.transitions == HAPPY

    asyncio.run(story())


def test_an_appointment_for_the_download_does_not_start_the_installation(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(custom={"driver": {"asks_before_download": True}})
            await schedule_soon(world, agent)
            await world.until(lambda: shown(agent).question is Question.INSTALL, what="not asked to install")
            await asyncio.sleep(0.1)
            assert "stage" not in world.vehicle.calls()
            await world.decide(agent, Decision.DECLINE)
            await world.reported(JobState.REJECTED)
            assert world.cloud.reason == "the driver declined"
            await world.closed(agent)
            assert shown(agent).ending is Ending.DECLINED
            (answer,) = [each["data"]["answer"] for each in world.trace() if each["event"] == "driver.answer"]
            assert (answer["decision"], answer["question"], answer["job_id"]) == ("decline", "install", "job-1")
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_the_driver_cancels_until_the_point_of_no_return(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("engine", pace_s=0.05)
            world.offer()
            await world.install(agent)
            await world.until(lambda: shown(agent).job_state is JobState.INSTALLING)
            assert shown(agent).can_be_canceled
            await agent.dashboard.decide("job-1", choose(agent, Decision.CANCEL))
            await world.reported(JobState.CANCELED)
            await world.closed(agent)
            assert (world.cloud.reason, shown(agent).ending) == ("the driver canceled", Ending.WITHDRAWN)
            assert world.vehicle.running() == OLD
            with pytest.raises(DecisionRefused) as refusal:
                await agent.dashboard.decide("job-1", choose(agent, Decision.CANCEL))
            assert refusal.value.kind is Refusal.NO_RETURN

    asyncio.run(story())


def test_the_expected_duration_is_a_range_of_what_was_measured(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()
            await world.until(lambda: shown(agent).question is not None)
            first = (shown(agent).duration_min_s, shown(agent).duration_max_s)
            assert 0 < first[0] < first[1]
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            await world.closed(agent)
            rates = MeasuredRates(agent.store.engine)
            for rate in (100.0, 50.0):
                rates.note(rate)
            world.offer(version="3.0.0")
            await world.until(lambda: shown(agent).job_id == "job-2" and shown(agent).question is not None)
            assert shown(agent).duration_max_s > 10 * first[1], "a slow transfer is remembered"

    asyncio.run(story())
