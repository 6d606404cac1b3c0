"""The gateway's table of events agrees with the transitions that cloud and gateway share."""

from __future__ import annotations

import pytest

from otabench.bench.gateway.jobs.states import NEXT, Event, can_be_given_up, is_way_back_needed, next_state
from otabench.proto.job_states import FINAL_STATES, TRANSITIONS, JobState


def test_events_lead_exactly_where_the_shared_table_allows() -> None:
    assert {state: set(NEXT.get(state, {}).values()) for state in JobState} == {
        s: set(a) for s, a in TRANSITIONS.items()
    }


def test_every_state_is_reached_and_every_event_used() -> None:
    reached = {JobState.CREATED}
    for _ in JobState:
        reached |= {after for state in reached for after in NEXT.get(state, {}).values()}
    assert reached == set(JobState)
    assert {event for events in NEXT.values() for event in events} == set(Event)


def test_only_the_final_states_have_no_event() -> None:
    assert {state for state in JobState if state not in NEXT} == FINAL_STATES


@pytest.mark.parametrize("state", NEXT)
def test_from_activating_on_a_failure_goes_by_the_way_back(state: JobState) -> None:
    if is_way_back_needed(state):
        assert (Event.UNABLE in NEXT[state]) == (state is JobState.ACTIVATING), (
            "there the ECUs are asked before any is changed"
        )
        assert not can_be_given_up(state)
    else:
        assert Event.REVERTED not in NEXT[state]
        assert can_be_given_up(state)


def test_an_event_that_cannot_happen_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="APPROVED cannot happen in state VERIFYING"):
        next_state(JobState.VERIFYING, Event.APPROVED)
