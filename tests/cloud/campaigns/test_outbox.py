"""The outbox: messages are written with their change, sent at a rate, and survive a killed control plane and a broker that is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import outbox
from otabench.cloud.campaigns.outbox import OutboxSender
from otabench.cloud.errors import NotDelivered
from otabench.cloud.store.database import Database, open_database
from otabench.cloud.store.schema import JobRow, OutboxRow, VehicleRow
from tests.cloud.bench import plain_campaign

FAST = 1e6


class Broker:
    """A broker that acknowledges, unless it is away or has acknowledged as many messages as it was to."""

    def __init__(self, *, fails_after: int | None = None) -> None:
        self.received: list[tuple[str, dict[str, object]]] = []
        self.fails_after = fails_after

    async def wait_until_connected(self) -> None:
        pass

    async def deliver(self, topic: str, payload: bytes) -> None:
        await asyncio.sleep(0)
        if self.fails_after is not None and len(self.received) >= self.fails_after:
            self.fails_after = None
            raise NotDelivered("the broker went away")
        self.received.append((topic, json.loads(payload)))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


def add_waiting_vehicles(database: Database, number: int) -> None:
    """Add vehicles whose jobs are CREATED, without any message for them: as a killed control plane may leave them."""
    vins = [f"VIN{each:05d}" for each in range(number)]

    def add(session: Session) -> None:
        session.add(plain_campaign())
        session.execute(insert(VehicleRow), [{"vin": vin} for vin in vins])
        session.flush()
        session.execute(
            insert(JobRow),
            [
                {
                    "job_id": f"job-{vin}",
                    "campaign_id": "c",
                    "vin": vin,
                    "position": 0,
                    "state": "CREATED",
                    "updated_at": 0,
                }
                for vin in vins
            ],
        )

    database.run_now(add)


def send_all(database: Database, *senders: OutboxSender) -> None:
    """Let the senders run until the outbox is empty."""

    async def run() -> None:
        tasks = [asyncio.create_task(sender.run()) for sender in senders]
        async with asyncio.timeout(60):
            while await database.run(count_messages):
                await asyncio.sleep(0.03)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(run())


def count_messages(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(OutboxRow)) or 0


def wake_missing(messages_per_s: float) -> Callable[[Session], int]:
    return lambda session: outbox.add_missing_wake_ups(session, messages_per_s=messages_per_s, now=time.time())


def test_after_a_restart_all_waiting_vehicles_are_woken_once(database_url: str) -> None:
    # given: more vehicles than any queue in memory held
    with opened(database_url) as database:
        add_waiting_vehicles(database, 1100)
        database.run_now(wake_missing(200))
        # The process is killed, and the next one finds the messages of the first.
    broker = Broker()
    with opened(database_url) as database:
        assert database.run_now(wake_missing(200)) == 0, "their wake-ups wait already"

        send_all(database, OutboxSender(database=database, publisher=broker, messages_per_s=FAST))

    assert sorted(topic for topic, _ in broker.received) == [
        f"otabench/v1/vehicles/VIN{each:05d}/update-available" for each in range(1100)
    ]
    assert {fields["window_s"] for _, fields in broker.received} == {5.5}


def test_two_senders_share_the_outbox_and_a_failing_broker_loses_nothing(database_url: str) -> None:
    brokers = Broker(fails_after=130), Broker()
    with opened(database_url) as one, opened(database_url) as two:
        add_waiting_vehicles(one, 400)
        one.run_now(wake_missing(FAST))

        send_all(
            one,
            *(
                OutboxSender(database=database, publisher=broker, messages_per_s=FAST)
                for database, broker in zip((one, two), brokers, strict=True)
            ),
        )

    received = [topic for broker in brokers for topic, _ in broker.received]
    assert len(received) == len(set(received)) == 400


def test_messages_of_one_vehicle_arrive_in_order_and_a_few_without_a_window(database_url: str) -> None:
    broker = Broker()
    waiting = [("VIN1", "job-1", "c")]
    with opened(database_url) as database:
        for state in ("CREATED", "CONFIRMING"):
            database.run_now(
                lambda session, state=state: outbox.add_transition(  # type: ignore[misc]
                    session, vin="VIN1", job_id="job-1", state=state, reason="", now=time.time()
                )
            )
        database.run_now(lambda session: outbox.add_wake_ups(session, waiting, now=time.time()))

        send_all(database, OutboxSender(database=database, publisher=broker, messages_per_s=FAST))

    assert [fields for _, fields in broker.received] == [
        {"job_id": "job-1", "state": "CREATED", "reason": ""},
        {"job_id": "job-1", "state": "CONFIRMING", "reason": ""},
        {"vin": "VIN1", "job_id": "job-1", "campaign_id": "c"},
    ]


def test_a_transaction_that_fails_announces_nothing(database_url: str) -> None:
    def fail(session: Session) -> None:
        outbox.add_wake_ups(session, [("VIN1", "job-1", "c")], now=time.time())
        raise ValueError("in the middle")

    with opened(database_url) as database:
        with pytest.raises(ValueError, match="in the middle"):
            database.run_now(fail)
        assert database.run_now(count_messages) == 0


def test_old_messages_are_dropped_and_the_rate_is_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = Broker()
    with opened(f"sqlite:///{tmp_path_factory.mktemp('outbox')}/cloud.db") as database:
        old = [("VIN1", "job-1", "c")]
        database.run_now(lambda session: outbox.add_wake_ups(session, old, now=time.time() - 7200))
        new = [(f"VIN{each}", "job-2", "c") for each in range(150)]
        database.run_now(lambda session: outbox.add_wake_ups(session, new, now=time.time()))
        began = time.monotonic()

        send_all(database, OutboxSender(database=database, publisher=broker, messages_per_s=500))

        assert time.monotonic() - began >= 0.2, "a batch of 100 at 500 a second"
    assert {fields["job_id"] for _, fields in broker.received} == {"job-2"}


@pytest.mark.parametrize(("vehicles", "window_s"), [(1, 0), (199, 0), (200, 1), (1000, 5), (10_000_000, 300)])
def test_the_window_grows_with_the_vehicles(vehicles: int, window_s: float) -> None:
    assert outbox.window_of(vehicles, messages_per_s=200) == window_s
