"""The gateway is killed right after it persisted a state and before it acted on it: it goes on from there."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from otabench.bench.errors import EndpointError
from otabench.proto.job_states import JobState
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto]

BEFORE_CONSENT = ["CONFIRMING", "WAITING_FOR_APPROVAL"]
AFTER_CONSENT = ["DOWNLOADING", "INSTALLING", "ACTIVATING", "VERIFYING"]


def kill_in(living: LivingBench, state: str) -> None:
    """Start a campaign whose gateway dies in that state."""
    bench = living.bench
    bench.processes.restart("gateway", stop_before=state)
    living.start_campaign()
    if state not in BEFORE_CONSENT:
        with suppress(EndpointError):  # the gateway dies before it answers
            living.approve()
    assert bench.processes.wait_exit("gateway", timeout_s=60) == -signal.SIGKILL


@pytest.mark.parametrize("state", BEFORE_CONSENT + AFTER_CONSENT)
def test_a_killed_gateway_goes_on_where_it_was(living: LivingBench, state: str) -> None:
    kill_in(living, state)
    living.bench.processes.start("gateway")
    if state in BEFORE_CONSENT:
        living.approve()
    living.expect_updated()


@pytest.mark.parametrize("state", ["ACTIVATING", "VERIFYING"])
def test_a_gateway_killed_in_a_failing_update_still_rolls_back(living: LivingBench, state: str) -> None:
    living.bench.ecus.control_port("engine").fault("boot-fail")
    kill_in(living, state)
    living.bench.processes.start("gateway")
    living.expect_unchanged(JobState.ROLLED_BACK)


def test_a_gateway_killed_in_the_middle_of_a_transfer_starts_it_again(living: LivingBench) -> None:
    bench = living.bench
    living.start_campaign()
    living.approve()
    bench.jobs.wait_for(JobState.INSTALLING, timeout_s=30)
    bench.processes.kill("gateway")
    bench.processes.start("gateway")
    living.expect_updated()
