"""One update, from the offer to its end, as the cloud, the driver and the ECUs see it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, Ending
from otabench.bench.uds import answers
from otabench.proto.job_states import JobState
from tests.bench.gateway.world import HAPPY, NEW, OLD, World, choose, obstacle, shown


def test_a_campaign_updates_two_ecus(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()
            await world.until(lambda: shown(agent).job_state is JobState.WAITING_FOR_APPROVAL)
            asked = shown(agent)
            assert [(e.ecu, e.from_version, e.to_version) for e in asked.ecus] == [
                ("engine", "1.0.0", "2.0.0"),
                ("adas", "1.0.0", "2.0.0"),
            ]
            assert asked.campaign_name == "Autumn"
            assert asked.release_notes == "Better."
            assert asked.download_bytes == sum(len(f) for f in world.artifacts.files.values())
            assert asked.expected_duration_s > 0
            assert world.artifacts.requests == []
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            await world.closed(agent)
            assert world.cloud.transitions == HAPPY
            assert world.vehicle.running() == NEW
            assert world.vehicle.calls()[-5:] == ["stage", "activate", "verify", "confirm", "finish"]
            final = shown(agent)
            assert final.job_state is JobState.SUCCEEDED
            assert final.download_done_bytes == final.download_bytes
            assert (final.progress_percent, final.ending) == (100, Ending.INSTALLED)
            assert [ecu.version for ecu in final.ecus] == ["2.0.0", "2.0.0"]
            entry = final.history[0]
            assert (entry.campaign_name, entry.state, entry.reason) == ("Autumn", JobState.SUCCEEDED, "")
            assert 0.0 <= time.time() - entry.ended_at < 60.0
            last = next(u for u in reversed(world.cloud.updates) if u.ecus)
            assert {ecu.ecu: ecu.software_version for ecu in last.ecus} == {"engine": "2.0.0", "adas": "2.0.0"}
            first = next(u for u in world.cloud.updates if u.ecus)
            assert {ecu.software_version for ecu in first.ecus} == {"1.0.0"}
            states = [e["data"]["to"] for e in world.trace() if e["event"] == "job.state"]
            assert states == [str(state) for state in HAPPY]
            assert not list((tmp_path / "state" / "downloads").iterdir())

    asyncio.run(story())


def test_a_patch_is_taken_where_the_ecu_runs_its_base(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(patch=True)
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            assert all(path.startswith("patches/") for path, _ in world.artifacts.requests)
            assert world.vehicle.calls().count("patch") == 2
            assert world.vehicle.running() == NEW

    asyncio.run(story())


def test_a_refused_patch_is_followed_by_the_full_image(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("adas", **{"refuse-patch": True})
            world.offer(patch=True)
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            fetched = [path for path, _ in world.artifacts.requests if path.startswith("images/")]
            assert len(fetched) == 1
            assert "adas" in fetched[0]
            assert world.vehicle.running() == NEW

    asyncio.run(story())


@pytest.mark.parametrize("tampering", ["another byte", "one byte less", "gone"])
def test_a_patch_that_is_tampered_with_on_its_way_is_replaced_by_the_full_image(tmp_path: Path, tampering: str) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(patch=True)
            path = next(path for path in world.artifacts.files if path.startswith("patches/") and "adas" in path)
            if tampering == "gone":
                del world.artifacts.files[path]
            else:
                patch = world.artifacts.files[path]
                world.artifacts.files[path] = patch[:-1] + (b"" if tampering == "one byte less" else b"\x00")
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            assert world.vehicle.calls().count("patch") == 1, "the engine's"
            assert world.vehicle.running() == NEW
            (refused,) = (event for event in world.trace() if event["event"] == "download.patch_refused")
            assert refused["ecu"] == "adas"
            assert "3 times" in refused["data"]["reason"]

    asyncio.run(story())


def test_a_patch_for_another_base_is_not_downloaded(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            bundle_patch = world.manifest(patch=True)["targets.json"]
            assert b"base_version" in bundle_patch
            world.offer(world.manifest(target={"patch": _foreign_patch()}))
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)
            assert all(path.startswith("images/") for path, _ in world.artifacts.requests)

    asyncio.run(story())


def test_two_updates_one_after_the_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            for version in ("2.0.0", "3.0.0"):
                world.offer(version=version)
                await world.until(lambda v=version: {e.to_version for e in shown(agent).ecus} == {v})  # type: ignore[misc]
                await world.install(agent)
                await world.reported(JobState.SUCCEEDED)
                await world.closed(agent)
            assert {version for version, _ in world.vehicle.running().values()} == {"3.0.0"}
            assert len(shown(agent).history) == 2

    asyncio.run(story())


# The driver


def test_the_driver_declines(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()
            await world.decide(agent, Decision.DECLINE)
            await world.reported(JobState.REJECTED)
            assert world.cloud.reason == "the driver declined"
            assert world.artifacts.requests == []
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_the_driver_says_later_and_then_install(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer()
            await world.decide(agent, Decision.LATER)
            assert shown(agent).deferred_until is not None
            assert shown(agent).job_state is JobState.WAITING_FOR_APPROVAL
            await world.until(lambda: shown(agent).deferred_until is None, what="not asked again")
            await world.install(agent)
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_the_driver_does_not_decide_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(custom={"approval_timeout_s": 1})
            await world.reported(JobState.TIMED_OUT)
            assert world.cloud.reason == "the driver did not decide within 1 s"
            with pytest.raises(DecisionRefused, match="TIMED_OUT"):
                await agent.dashboard.decide("job-1", choose(agent, Decision.INSTALL))

    asyncio.run(story())


def test_a_decision_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            with pytest.raises(DecisionRefused, match="no update"):
                await agent.dashboard.decide("job-1", choose(agent, Decision.INSTALL))
            world.offer()
            await world.until(lambda: shown(agent).question is not None)
            with pytest.raises(DecisionRefused, match="no update job-9"):
                await agent.dashboard.decide("job-9", choose(agent, Decision.INSTALL))
            first, second = await asyncio.gather(
                agent.dashboard.decide("job-1", choose(agent, Decision.INSTALL)),
                agent.dashboard.decide("job-1", choose(agent, Decision.DECLINE)),
                return_exceptions=True,
            )
            assert first is None
            assert isinstance(second, DecisionRefused)
            await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_a_manifest_that_expires_while_the_driver_thinks_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.offer(lifetime_s=60.0)
            await world.until(lambda: shown(agent).job_state is JobState.WAITING_FOR_APPROVAL)
            later = SimpleNamespace(time=lambda: time.time() + 61.0, monotonic=time.monotonic)
            monkeypatch.setattr("otabench.bench.gateway.jobs.approval.time", later)
            with pytest.raises(DecisionRefused, match="the manifest expired"):
                await world.install(agent)
            await world.reported(JobState.FAILED)
            assert "expired" in world.cloud.reason
            assert world.artifacts.requests == []

    asyncio.run(story())


def test_no_room_for_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway():
            monkeypatch.setattr("otabench.bench.gateway.jobs.job_files._free_bytes", lambda _: 100)
            world.offer()
            await world.reported(JobState.FAILED)
            assert "not enough room" in world.cloud.reason
            assert world.artifacts.requests == []

    asyncio.run(story())


# The operator


@pytest.mark.parametrize("state", [JobState.WAITING_FOR_APPROVAL, JobState.DOWNLOADING, JobState.INSTALLING])
def test_the_operator_cancels(tmp_path: Path, state: JobState) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("engine", pace_s=0.2)
            world.offer()
            if state is JobState.DOWNLOADING:
                await world.artifacts.stop()
            if state is not JobState.WAITING_FOR_APPROVAL:
                await world.install(agent)
            await world.reported(state)
            world.cloud.cancel_requested = True
            await world.reported(JobState.CANCELED)
            await world.closed(agent)
            assert world.cloud.reason == "canceled by the operator"
            assert world.vehicle.running() == OLD
            assert "activate" not in world.vehicle.calls()
            assert world.vehicle.calls()[-1] == "finish"

    asyncio.run(story())


def test_a_job_that_the_cloud_has_ended_is_ended_here(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            for ended in (JobState.CANCELED, JobState.TIMED_OUT, JobState.FAILED):
                job_id = world.offer()
                await world.until(
                    lambda j=job_id: (
                        (shown(agent).job_id, shown(agent).job_state)  # type: ignore[misc]
                        == (j, JobState.WAITING_FOR_APPROVAL)
                    )
                )
                world.cloud.state = ended
                await world.until(lambda e=ended: shown(agent).job_state is e)  # type: ignore[misc]
                await world.closed(agent)

    asyncio.run(story())


# The ECUs


def test_an_ecu_that_cannot_be_staged_ends_the_job_with_nothing_changed(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("adas", refuse={"0202": 0x72})
            world.offer()
            await world.install(agent)
            await world.reported(JobState.FAILED)
            expected = "adas: 31 01 0202 check memory: NRC 72 generalProgrammingFailure: refused: erasing or programming failed"
            assert world.cloud.reason.startswith(expected)
            await world.closed(agent)
            assert world.vehicle.running() == OLD
            assert "activate" not in world.vehicle.calls()

    asyncio.run(story())


def test_an_ecu_that_does_not_boot_brings_all_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("adas", **{"boot-fail": True})
            world.offer()
            await world.install(agent)
            await world.reported(JobState.ROLLED_BACK)
            assert "adas: verify: runs 1.0.0, not 2.0.0" in world.cloud.reason
            assert world.vehicle.running() == OLD
            await world.closed(agent)
            entry = shown(agent).history[0]
            assert (entry.state, entry.ending) == (JobState.ROLLED_BACK, Ending.UNDONE)
            assert shown(agent).progress_percent < 100
            assert "adas: verify: runs 1.0.0, not 2.0.0" in entry.reason
            last = next(u for u in reversed(world.cloud.updates) if u.ecus)
            assert {ecu.software_version for ecu in last.ecus} == {"1.0.0"}

    asyncio.run(story())


@pytest.mark.parametrize(("step", "nrc"), [("0210 activate", 0x22), ("0211 confirm", 0x72)])
def test_an_ecu_that_refuses_to_activate_or_confirm_brings_all_back(tmp_path: Path, step: str, nrc: int) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("adas", refuse={step: nrc})
            world.offer()
            await world.install(agent)
            await world.reported(JobState.ROLLED_BACK)
            assert f"adas: 31 01 {step}: {answers.nrc_label(nrc)}: refused" in world.cloud.reason
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_an_ecu_whose_dependencies_are_not_met_fails_the_job_and_nothing_is_activated(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            vehicle = [
                {"image_number": 1, "ecu": "engine", "ecu_serial": "ENG-0001", "version": "2.0.0"},
                {"image_number": 2, "ecu": "adas", "ecu_serial": "ADA-0001", "version": "2.0.0"},
            ]
            needs = {"requires": [{"image_number": 2, "version": "2.0.0"}]}
            world.vehicle.set_fault("engine", **{"dependencies-not-met": True})
            world.offer(custom={"vehicle": vehicle}, target=needs)
            await world.install(agent)
            await world.reported(JobState.FAILED)
            words = "not met: its image 2.0.0 for engine needs adas >= 2.0.0 (adas would run 2.0.0)"
            assert words in world.cloud.reason
            assert world.vehicle.running() == OLD
            await world.closed(agent)
            assert shown(agent).ending is Ending.UNCHANGED

    asyncio.run(story())


@pytest.mark.parametrize("step", ["0210 activate", "0211 confirm"])
def test_an_ecu_that_cannot_be_brought_back_fails_the_job(tmp_path: Path, step: str) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway() as agent:
            world.vehicle.set_fault("adas", refuse={step: 0x22}, **{"no-revert": True})
            world.offer()
            await world.install(agent)
            await world.reported(JobState.FAILED)
            assert "reverting failed 3 times" in world.cloud.reason
            assert shown(agent).ending is Ending.NOT_BROUGHT_BACK
            assert world.vehicle.calls().count("revert") == 3

    asyncio.run(story())


def test_an_ecu_that_is_silent_for_a_while_when_reverting_is_tried_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway(killed_before=None) as agent:
            world.vehicle.set_fault("adas", **{"boot-fail": True})
            world.offer()
            await world.install(agent)
            await world.until(lambda: "verify" in world.vehicle.calls())
            await world.reported(JobState.ROLLED_BACK)
            assert world.vehicle.running() == OLD

    asyncio.run(story())


def test_an_ecu_silent_at_start_is_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world:
            world.vehicle.set_fault("engine", silent=1_000_000)
            async with world.gateway() as agent:
                world.offer()
                await world.until(lambda: "engine: 22 F18C serial number: no answer" in obstacle(agent))
                assert world.cloud.check_ins == []
                world.vehicle.set_fault("engine", silent=None)
                await world.install(agent)
                await world.reported(JobState.SUCCEEDED)

    asyncio.run(story())


def test_an_ecu_that_falls_silent_before_the_manifest_is_judged_fails_the_job(tmp_path: Path) -> None:
    async def story() -> None:
        async with World.open(tmp_path) as world, world.gateway():
            await world.until(lambda: world.cloud.check_ins)
            world.vehicle.set_fault("engine", silent=1_000_000)
            world.offer()
            await world.reported(JobState.FAILED)
            assert "the vehicle is not ready" in world.cloud.reason
            assert "engine" in world.cloud.reason
            assert world.cloud.manifests_given == 0

    asyncio.run(story())


def _foreign_patch() -> dict[str, object]:
    return {
        "path": "patches/x/y.bsdiff",
        "length": 10,
        "sha256": "00" * 32,
        "base_version": "0.9.0",
        "base_sha256": "00" * 32,
        "base_length": 10,
    }
