"""Jobs of silent vehicles end: in every state, once, and only if the vehicle has really been silent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import status_update, timeouts
from otabench.cloud.campaigns.announcer import Announcer
from otabench.cloud.campaigns.timeouts import TimeoutKeeper
from otabench.cloud.errors import NotAllowed
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import JobRow, OutboxRow, TransitionRow
from otabench.proto import ota_pb2
from otabench.proto.job_states import FINAL_STATES, JobState
from otabench.proto.process_config import OpenState
from tests.cloud.campaigns.test_outbox import add_waiting_vehicles, opened

OPEN_STATES = [state for state in JobState if state not in FINAL_STATES]


def states(database: Database) -> list[str]:
    return database.run_now(lambda session: list(session.scalars(select(JobRow.state).order_by(JobRow.vin))))


def set_jobs(database: Database, *, state: JobState, updated_at: float) -> None:
    database.run_now(lambda session: session.execute(update(JobRow).values(state=state, updated_at=updated_at)))


def test_the_configuration_knows_the_open_states() -> None:
    assert list(get_args(OpenState)) == OPEN_STATES


@pytest.mark.parametrize("state", OPEN_STATES)
def test_a_job_of_a_silent_vehicle_ends_in_every_state(tmp_path: Path, state: JobState) -> None:
    now = time.time()
    with opened(f"sqlite:///{tmp_path}/cloud.db") as database:
        add_waiting_vehicles(database, 1)
        limits = dict.fromkeys(OPEN_STATES, 60.0)

        # given: a report 59 s ago, then nothing happens; and one that is older than the limit ends the job
        set_jobs(database, state=state, updated_at=now - 59)
        assert database.run_now(lambda session: timeouts.end_overdue_jobs(session, limits, now=now)) == []
        set_jobs(database, state=state, updated_at=now - 61)
        (ended,) = database.run_now(lambda session: timeouts.end_overdue_jobs(session, limits, now=now))

        late = state in (JobState.ACTIVATING, JobState.VERIFYING)
        assert states(database) == ["FAILED" if late else "TIMED_OUT"]
        assert ended.before == state
        assert f"no report in {state} for 60 s" in ended.reason

        # then: the vehicle that comes back is refused, and nothing changes
        report = ota_pb2.UpdateStatusRequest(vin=ended.vin, job_id=ended.job_id, transition_seq=9)
        with pytest.raises(NotAllowed, match="has ended"):
            database.run_now(lambda session: status_update.apply(session, report, reported=JobState.SUCCEEDED, now=now))
        assert states(database) == ["FAILED" if late else "TIMED_OUT"]


def test_two_control_planes_end_each_job_once(database_url: str) -> None:
    # given: more jobs than one batch, and two control planes that look at the same time
    limits = {JobState.CREATED: 0.04}
    with opened(database_url) as one, opened(database_url) as two:
        add_waiting_vehicles(one, 150)

        async def run() -> None:
            announcer = Announcer(trace=None, notify_outbox=lambda: None)
            keepers = [
                asyncio.create_task(TimeoutKeeper(database=database, announcer=announcer, limits=limits).run())
                for database in (one, two)
            ]
            async with asyncio.timeout(30):
                while set(await one.run(lambda session: list(session.scalars(select(JobRow.state))))) != {"TIMED_OUT"}:
                    await asyncio.sleep(0.02)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)

        asyncio.run(run())

        def written(session: Session) -> tuple[int, int]:
            transitions = session.scalars(select(TransitionRow.after)).all()
            return len(transitions), len(session.scalars(select(OutboxRow.number)).all())

        assert one.run_now(written) == (150, 150)


def test_without_limits_nothing_runs(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/cloud.db")
    announcer = Announcer(trace=None, notify_outbox=lambda: None)

    asyncio.run(asyncio.wait_for(TimeoutKeeper(database=database, announcer=announcer, limits={}).run(), timeout=5))

    database.close()
