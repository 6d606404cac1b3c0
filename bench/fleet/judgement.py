"""Compare what the vehicles did with the jobs that the cloud has at the end. Pure.

A finding is a fault of the cloud: a job that is lost, doubled, left open, or has another end than its vehicle reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from otabench.bench.finding import Finding, fail
from otabench.bench.fleet.plan import Behaviour, Plan
from otabench.proto.job_states import JobState, is_final

_EXPECTED_ENDS: Final = {Behaviour.FAIL: JobState.FAILED, Behaviour.VANISH: JobState.TIMED_OUT}
"""The ends of the jobs of vehicles that misbehave. All others succeed."""
_MAX_NAMED: Final = 5


@dataclass(frozen=True)
class CloudJob:
    """A job as the cloud lists it at the end."""

    job_id: str
    vin: str
    state: JobState
    reason: str = ""


@dataclass
class VehicleRecord:
    """What one vehicle did.

    Attributes:
        offered: the jobs that the cloud offered it, each once.
        state: the last state that it reported and that the cloud acknowledged; empty: none.
        refusal: why the cloud refused a report; empty: it refused none.
        problem: what the vehicle did not expect, such as a giant message that was accepted.
    """

    vin: str
    offered: list[str] = field(default_factory=list)
    state: str = ""
    refusal: str = ""
    problem: str = ""


def judge(plan: Plan, records: Mapping[str, VehicleRecord], jobs: Sequence[CloudJob]) -> list[Finding]:
    """Return a finding for each kind of fault, with the number of its vehicles and the names of a few. Empty: there is none."""
    by_vin: dict[str, list[CloudJob]] = defaultdict(list)
    for job in jobs:
        by_vin[job.vin].append(job)
    problems: dict[str, list[str]] = defaultdict(list)
    for vin in plan.vins:
        record = records.get(vin) or VehicleRecord(vin)
        for kind, detail in _problems(plan.behaviours[vin], record, by_vin[vin]):
            problems[kind].append(f"{vin} ({detail})" if detail else vin)
    for vin in sorted(by_vin.keys() - plan.behaviours.keys()):
        problems["a job of a vehicle that is not of this fleet"].append(vin)
    return [_finding(kind, named) for kind, named in problems.items()]


def _problems(behaviour: Behaviour, record: VehicleRecord, jobs: Sequence[CloudJob]) -> list[tuple[str, str]]:
    if not jobs:
        return [("lost: the vehicle has no job", "")]
    found = []
    if len(jobs) > 1:
        found.append(("doubled: the vehicle has several jobs", ", ".join(job.job_id for job in jobs)))
    unknown = [job_id for job_id in record.offered if job_id not in {job.job_id for job in jobs}]
    if unknown or len(record.offered) > 1:
        found.append(("doubled: the vehicle was offered more than its job", ", ".join(record.offered)))
    if record.problem:
        found.append(("unexpected", record.problem))
    found.extend(each for job in jobs if (each := _end_problem(behaviour, record, job)) is not None)
    return found


def _end_problem(behaviour: Behaviour, record: VehicleRecord, job: CloudJob) -> tuple[str, str] | None:
    if not is_final(job.state):
        kind = "vanished" if behaviour is Behaviour.VANISH else "lost"
        return f"{kind}: the job stays open", f"{job.state}; last reported: {record.state or 'nothing'}"
    if record.state and is_final(JobState(record.state)) and job.state != record.state:
        return "lost: the acknowledged end is not the cloud's", f"reported {record.state}, cloud {job.state}"
    expected = _EXPECTED_ENDS.get(behaviour, JobState.SUCCEEDED)
    if job.state is not expected:
        reason = record.refusal or job.reason
        detail = f"{job.state} instead of {expected}" + (f": {reason}" if reason else "")
        return "lost: the job has another end than expected", detail
    return None


def _finding(kind: str, named: Sequence[str]) -> Finding:
    rest = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    where, _, problem = kind.partition(": ")
    return fail(f"jobs, {where}", f"{problem or where}: {', '.join(named[:_MAX_NAMED])}{rest}")
