"""How a job ended: every final state has an ending, and the ending is what happened to the vehicle."""

from __future__ import annotations

import pytest

from otabench.bench.gateway.hmi.endings import ending
from otabench.bench.gateway.hmi.model import Ending
from otabench.bench.gateway.store import JobRecord
from otabench.proto.job_states import FINAL_STATES, JobState

S, E = JobState, Ending


@pytest.mark.clause("R156 7.2.2.4")
@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (JobRecord("j", S.SUCCEEDED, 7), E.INSTALLED),
        (JobRecord("j", S.ROLLED_BACK, 7, revert_reason="adas does not boot"), E.UNDONE),
        (JobRecord("j", S.FAILED, 5), E.UNCHANGED),
        (JobRecord("j", S.FAILED, 7, revert_reason="adas does not boot"), E.NOT_BROUGHT_BACK),
        (JobRecord("j", S.REJECTED, 3, manifest=b"signed"), E.DECLINED),
        (JobRecord("j", S.REJECTED, 2), E.REFUSED),
        (JobRecord("j", S.CANCELED, 4), E.WITHDRAWN),
        (JobRecord("j", S.TIMED_OUT, 4), E.OUT_OF_TIME),
    ],
)
def test_ending_is_what_happened_to_the_vehicle(job: JobRecord, expected: Ending) -> None:
    assert ending(job) is expected


@pytest.mark.parametrize("state", JobState)
def test_every_final_state_has_an_ending_and_no_other_has(state: JobState) -> None:
    assert (ending(JobRecord("j", state, 1)) is not None) == (state in FINAL_STATES)
