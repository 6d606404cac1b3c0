"""What a status update and a cancellation do to a job, for every pair of states."""

from __future__ import annotations

import itertools

import pytest

from otabench.cloud.campaigns.job_rules import (
    CancelEffect,
    Effect,
    cancel_is_due,
    explain_refusal,
    judge_cancel,
    judge_update,
)
from otabench.proto.job_states import TRANSITIONS, JobState, is_final

PAIRS = list(itertools.product(JobState, JobState))


@pytest.mark.parametrize(("current", "reported"), PAIRS)
def test_a_new_number_is_applied_exactly_if_the_table_allows_it(current: JobState, reported: JobState) -> None:
    effect = judge_update(current, reported, seq=5, taken_seq=4)

    if current == reported:
        assert effect is Effect.PROGRESS
    elif reported in TRANSITIONS[current]:
        assert effect is Effect.TRANSITION
    else:
        assert effect is Effect.REFUSED
        message = explain_refusal("job-1", current, reported)
        assert f"{current} to {reported}" in message
        assert is_final(current) or all(state in message for state in TRANSITIONS[current])


@pytest.mark.parametrize(("current", "reported"), PAIRS)
def test_a_number_is_never_applied_twice(current: JobState, reported: JobState) -> None:
    assert judge_update(current, reported, seq=4, taken_seq=4) in (Effect.REPEAT, Effect.PROGRESS)


def test_an_update_without_a_number_follows_the_table() -> None:
    created, confirming, installing = JobState.CREATED, JobState.CONFIRMING, JobState.INSTALLING
    assert judge_update(created, confirming, seq=0, taken_seq=9) is Effect.TRANSITION
    assert judge_update(created, installing, seq=0, taken_seq=9) is Effect.REFUSED


@pytest.mark.parametrize("state", JobState)
def test_canceling_ends_the_job_asks_the_vehicle_or_is_too_late(state: JobState) -> None:
    told = judge_cancel(state, offered=True, already_asked=False)

    if state is JobState.CANCELED:
        assert told is CancelEffect.ALREADY
    elif JobState.CANCELED in TRANSITIONS[state]:
        assert told is CancelEffect.ASKS_VEHICLE
        assert judge_cancel(state, offered=True, already_asked=True) is CancelEffect.ALREADY
    else:
        assert told is CancelEffect.TOO_LATE
    assert cancel_is_due(state, asked=True) == (JobState.CANCELED in TRANSITIONS[state])
    assert not cancel_is_due(state, asked=False)


def test_a_job_that_was_never_offered_is_canceled_at_once() -> None:
    assert judge_cancel(JobState.CREATED, offered=False, already_asked=False) is CancelEffect.ENDS_NOW
