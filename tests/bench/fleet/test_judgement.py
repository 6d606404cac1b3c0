"""What the fleet bench calls lost, doubled or left open."""

from __future__ import annotations

from itertools import pairwise

import pytest

from otabench.bench.fleet.judgement import CloudJob, VehicleRecord, judge
from otabench.bench.fleet.plan import Behaviour, Plan
from otabench.bench.fleet.vehicle import states_of
from otabench.proto.job_states import JobState, is_allowed

VIN = "FLEET0"
S = JobState


def findings(
    behaviour: Behaviour, record: VehicleRecord | None, *jobs: CloudJob, vins: tuple[str, ...] = (VIN,)
) -> list[str]:
    plan = Plan(vins, [vins], dict.fromkeys(vins, behaviour))
    records = {VIN: record} if record else {}
    return [f"{finding.where}: {finding.problem}" for finding in judge(plan, records, jobs)]


def job(state: JobState, *, job_id: str = "job-1", vin: str = VIN, reason: str = "") -> CloudJob:
    return CloudJob(job_id, vin, state, reason)


def record(state: JobState | str, *offered: str, problem: str = "") -> VehicleRecord:
    return VehicleRecord(VIN, list(offered or ("job-1",)), str(state), problem=problem)


@pytest.mark.parametrize(
    ("behaviour", "end"),
    [
        (Behaviour.PLAIN, S.SUCCEEDED),
        (Behaviour.DUPLICATE, S.SUCCEEDED),
        (Behaviour.GIANT, S.SUCCEEDED),
        (Behaviour.FAIL, S.FAILED),
    ],
)
def test_the_end_that_a_vehicle_has_reported_is_right(behaviour: Behaviour, end: JobState) -> None:
    assert findings(behaviour, record(end), job(end)) == []


def test_a_vanished_vehicles_job_has_to_time_out() -> None:
    seen = record(S.DOWNLOADING)

    assert findings(Behaviour.VANISH, seen, job(S.TIMED_OUT)) == []
    assert findings(Behaviour.VANISH, seen, job(S.DOWNLOADING)) == [
        f"jobs, vanished: the job stays open: {VIN} (DOWNLOADING; last reported: DOWNLOADING)"
    ]


@pytest.mark.parametrize(
    ("seen", "jobs", "expected"),
    [
        (None, [], "jobs, lost: the vehicle has no job"),
        (record(S.SUCCEEDED), [job(S.VERIFYING)], "jobs, lost: the job stays open"),
        (record(""), [job(S.CREATED)], "jobs, lost: the job stays open"),
        (record(S.SUCCEEDED), [job(S.FAILED)], "jobs, lost: the acknowledged end is not the cloud's"),
        (record(S.DOWNLOADING), [job(S.TIMED_OUT)], "jobs, lost: the job has another end than expected"),
        (
            record(S.SUCCEEDED),
            [job(S.SUCCEEDED), job(S.SUCCEEDED, job_id="job-2")],
            "jobs, doubled: the vehicle has several jobs",
        ),
        (
            record(S.SUCCEEDED, "job-1", "job-0"),
            [job(S.SUCCEEDED)],
            "jobs, doubled: the vehicle was offered more than its job",
        ),
        (
            record(S.SUCCEEDED, "job-0"),
            [job(S.SUCCEEDED)],
            "jobs, doubled: the vehicle was offered more than its job",
        ),
        (record(S.SUCCEEDED, problem="a giant message was accepted"), [job(S.SUCCEEDED)], "jobs, unexpected"),
    ],
)
def test_each_fault_of_the_cloud_is_found(seen: VehicleRecord | None, jobs: list[CloudJob], expected: str) -> None:
    found = findings(Behaviour.PLAIN, seen, *jobs)

    assert len(found) == 1
    assert found[0].startswith(expected)
    assert VIN in found[0]


def test_a_job_of_a_foreign_vehicle_is_found() -> None:
    found = findings(Behaviour.PLAIN, record(S.SUCCEEDED), job(S.SUCCEEDED), job(S.CREATED, vin="OTHER"))

    assert found == [
        "jobs, a job of a vehicle that is not of this fleet: a job of a vehicle that is not of this fleet: OTHER"
    ]


def test_many_vehicles_of_one_kind_are_one_finding() -> None:
    vins = tuple(f"FLEET{number}" for number in range(12))

    found = findings(Behaviour.PLAIN, None, vins=vins)

    assert len(found) == 1
    assert "FLEET4 and 7 more" in found[0]


@pytest.mark.parametrize("behaviour", list(Behaviour))
def test_a_vehicle_reports_transitions_of_the_table_only(behaviour: Behaviour) -> None:
    states = [S.CREATED, *states_of(behaviour)]

    assert all(is_allowed(before, after) for before, after in pairwise(states))
    ends = {Behaviour.FAIL: S.FAILED, Behaviour.VANISH: S.DOWNLOADING}
    assert states[-1] == ends.get(behaviour, S.SUCCEEDED)
