"""A sample of the sweep that kills the gateway at every statement of a job; the whole of it is ``python -m tests.sweeps``."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.sweeps.killed_gateway import SCENARIOS, points_of, run_point

# Another number chooses another statement.
_SEED = 1


@pytest.mark.clause("R156 7.2.2.1.1")
def test_a_job_ends_as_it_should_after_a_kill_at_a_statement() -> None:
    async def story() -> None:
        scenario = SCENARIOS["asked"]
        points = await points_of(scenario)
        assert len(points) > 300
        assert {"actions.py", "approval.py", "consents.py", "programming.py"} <= {point.file for point in points}
        point = random.Random(_SEED).choice(points)
        outcome = await run_point(scenario, point)
        assert (outcome.was_killed, outcome.problem) == (True, ""), point

    asyncio.run(story())
