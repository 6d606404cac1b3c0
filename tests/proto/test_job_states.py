"""The table of job states: every state is reachable, and every final state is intended."""

from __future__ import annotations

import pytest

from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, TRANSITIONS, JobState, from_wire, is_allowed, is_final, to_wire


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(JobState)


def test_every_state_is_reachable_from_created() -> None:
    reached = {JobState.CREATED}
    frontier = [JobState.CREATED]
    while frontier:
        for after in TRANSITIONS[frontier.pop()] - reached:
            reached.add(after)
            frontier.append(after)
    assert reached == set(JobState)


def test_the_ends_are_the_six_of_the_design() -> None:
    assert {state.value for state in FINAL_STATES} == {
        "SUCCEEDED",
        "ROLLED_BACK",
        "FAILED",
        "REJECTED",
        "CANCELED",
        "TIMED_OUT",
    }


def test_a_final_state_is_never_left() -> None:
    for state in FINAL_STATES:
        assert is_final(state)
        assert not any(is_allowed(state, after) for after in JobState)


def test_no_job_is_canceled_once_slots_are_being_activated() -> None:
    for state in (JobState.ACTIVATING, JobState.VERIFYING):
        assert not is_allowed(state, JobState.CANCELED)
        assert not is_allowed(state, JobState.TIMED_OUT)


def test_a_job_succeeds_only_after_verifying() -> None:
    assert [state for state in JobState if is_allowed(state, JobState.SUCCEEDED)] == [JobState.VERIFYING]


def test_no_job_goes_back() -> None:
    order = list(JobState)
    for before, afters in TRANSITIONS.items():
        assert all(order.index(after) > order.index(before) for after in afters)


@pytest.mark.parametrize("state", list(JobState))
def test_names_are_the_same_on_the_wire(state: JobState) -> None:
    assert ota_pb2.JobState.Name(to_wire(state)) == f"JOB_STATE_{state.value}"
    assert from_wire(to_wire(state)) is state


def test_the_wire_has_no_other_state() -> None:
    assert len(ota_pb2.JobState.keys()) == len(JobState) + 1
    with pytest.raises(ValueError, match="UNSPECIFIED"):
        from_wire(0)
