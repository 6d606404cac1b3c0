"""The outbox: messages to the event plane, stored with the changes that they announce, and sent until the broker has acknowledged them.

    outbox.add_wake_up(session, vin="VIN1", job_id="job-1", campaign_id="campaign-1", now=time.time())
    ...
    await OutboxSender(database=database, publisher=publisher, messages_per_s=200).run()

Rules:

* A message is written in the transaction of its change, so a process that is killed at any moment neither loses nor invents one.
* Messages are sent at a limited rate, in the order in which they were written. A message may be sent twice, if a process is killed between
  the acknowledgement and its removal.
* Several control planes share one outbox. Each claims the messages that it sends; a claim ends by itself.
* Old messages are dropped, because vehicles poll as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from otabench.cloud.errors import NotDelivered, RequestError
from otabench.cloud.store.database import Database
from otabench.cloud.store.schema import Base, JobRow, OutboxRow
from otabench.proto.job_states import JobState

TOPIC_ROOT: Final = "otabench/v1/vehicles"
MAX_WINDOW_S: Final = 300.0
"""The longest time over which woken vehicles are asked to spread their check-ins."""
_MAX_AGE_S: Final = 3600.0
_BATCH: Final = 100
_CLAIM_S: Final = 10.0
# Other control planes and killed ones leave messages here without waking this one.
_POLL_S: Final = 2.0
_PAUSE_S: Final = 1.0
_AWAY_S: Final = 60.0
_INSERT: Final = insert(Base.metadata.tables[OutboxRow.__tablename__])
_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The event plane."""

    async def wait_until_connected(self) -> None:
        """Return once the broker can be reached."""

    async def deliver(self, topic: str, payload: bytes) -> None:
        """Return once the broker has acknowledged the message.

        Raises:
            NotDelivered: the broker is away, or does not acknowledge.
        """


@dataclass(frozen=True)
class _Message:
    number: int
    topic: str
    payload: bytes


def add_transition(session: Session, *, vin: str, job_id: str, state: JobState, reason: str, now: float) -> None:
    """Announce a transition of a job, in the transaction that writes it."""
    add_messages(session, [transition_message(vin=vin, job_id=job_id, state=state, reason=reason, now=now)])


def transition_message(*, vin: str, job_id: str, state: JobState, reason: str, now: float) -> dict[str, object]:
    """Return the message about a transition, for ``add_messages``."""
    return _row(vin, "job", {"job_id": job_id, "state": state, "reason": reason}, now=now)


def add_wake_ups(
    session: Session, waiting: Sequence[tuple[str, str, str]], *, now: float, window_s: float = 0.0
) -> None:
    """Wake vehicles, so that they check in.

    Args:
        session: the caller's transaction.
        waiting: VIN, job and campaign of each vehicle.
        now: the time.
        window_s: the vehicles are asked to spread their check-ins over this time.
    """
    rows = []
    for vin, job_id, campaign_id in waiting:
        fields: dict[str, object] = {"vin": vin, "job_id": job_id, "campaign_id": campaign_id}
        if window_s > 0:
            fields["window_s"] = round(min(window_s, MAX_WINDOW_S), 1)
        rows.append(_row(vin, "update-available", fields, now=now))
    add_messages(session, rows)


def add_missing_wake_ups(session: Session, *, messages_per_s: float, now: float) -> int:
    """Wake all vehicles whose jobs are CREATED and whose wake-up does not wait in the outbox. Return how many."""
    rows = session.execute(
        select(JobRow.vin, JobRow.job_id, JobRow.campaign_id).where(
            JobRow.state == JobState.CREATED, JobRow.held.is_(False)
        )
    )
    waiting = [(vin, job_id, campaign_id) for vin, job_id, campaign_id in rows]
    # A claimed message may belong to a control plane that was killed: better twice than late.
    queued = set(session.scalars(select(OutboxRow.topic).where(OutboxRow.claimed_until < now)))
    missing = [each for each in waiting if _topic(each[0], "update-available") not in queued]
    add_wake_ups(session, missing, now=now, window_s=window_of(len(missing), messages_per_s=messages_per_s))
    return len(missing)


def window_of(vehicles: int, *, messages_per_s: float) -> float:
    """Return the time over which so many vehicles are to spread their check-ins; 0 for a few vehicles."""
    window_s = vehicles / messages_per_s
    # A bench's one vehicle is not to wait for nothing.
    return min(window_s, MAX_WINDOW_S) if window_s >= 1.0 else 0.0


class OutboxSender:
    """The sender of one control plane. ``run`` runs in a task of its own; ``notify`` is called on the event loop after a commit."""

    def __init__(self, *, database: Database, publisher: Publisher, messages_per_s: float) -> None:
        self._database = database
        self._publisher = publisher
        self._messages_per_s = messages_per_s
        self._filled = asyncio.Event()

    def notify(self) -> None:
        """Look into the outbox now."""
        self._filled.set()

    async def run(self) -> None:
        """Send messages until canceled."""
        while True:
            self._filled.clear()
            try:
                if not await self._is_connected():
                    await self._database.run(lambda session: _drop_old(session, now=time.time()))
                    continue
                pause_s = await self._send_batch()
            except (NotDelivered, RequestError) as error:
                _log.warning("outbox: %s; vehicles poll meanwhile", error)
                pause_s = _PAUSE_S
            if pause_s is not None:
                await asyncio.sleep(pause_s)
                continue
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._filled.wait()
            except TimeoutError:
                continue

    async def _is_connected(self) -> bool:
        try:
            async with asyncio.timeout(_AWAY_S):
                await self._publisher.wait_until_connected()
        except TimeoutError:
            return False
        return True

    async def _send_batch(self) -> float | None:
        """Send what waits, at most one batch. Return the pause that keeps the rate, or None if nothing waited."""
        began = time.monotonic()
        messages = await self._database.run(lambda session: _claim(session, now=time.time()))
        if not messages:
            return None
        delivered: list[int] = []
        try:
            for message in messages:
                await self._publisher.deliver(message.topic, message.payload)
                delivered.append(message.number)
        finally:
            rest = [message.number for message in messages[len(delivered) :]]
            await self._database.run(lambda session: _settle(session, delivered=delivered, rest=rest))
        return max(0.0, len(messages) / self._messages_per_s - (time.monotonic() - began))


def _topic(vin: str, leaf: str) -> str:
    return f"{TOPIC_ROOT}/{vin}/{leaf}"


def _row(vin: str, leaf: str, fields: dict[str, object], *, now: float) -> dict[str, object]:
    return {
        "topic": _topic(vin, leaf),
        "payload": json.dumps(fields, separators=(",", ":")).encode(),
        "expires_at": now + _MAX_AGE_S,
        "claimed_until": 0.0,
    }


def add_messages(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Write messages in the transaction of their changes."""
    if rows:
        # Of the table: the ORM would take several times as long for the messages of a large campaign.
        session.connection().execute(_INSERT, rows)


def _claim(session: Session, *, now: float) -> list[_Message]:
    """Claim the oldest messages that nobody is sending."""
    _drop_old(session, now=now)
    free = (
        select(OutboxRow.number)
        .where(OutboxRow.claimed_until < now)
        .order_by(OutboxRow.number)
        .limit(_BATCH)
        # PostgreSQL only. What another control plane is claiming at this moment is left to it.
        .with_for_update(skip_locked=True)
    )
    numbers = session.scalars(free).all()
    if not numbers:
        return []
    rows = session.execute(
        update(OutboxRow)
        .where(OutboxRow.number.in_(numbers))
        .values(claimed_until=now + _CLAIM_S)
        .returning(OutboxRow.number, OutboxRow.topic, OutboxRow.payload)
        .execution_options(synchronize_session=False)
    )
    return sorted((_Message(*row) for row in rows), key=lambda message: message.number)


def _settle(session: Session, *, delivered: Sequence[int], rest: Sequence[int]) -> None:
    """Remove what was delivered, and release the rest."""
    if delivered:
        session.execute(delete(OutboxRow).where(OutboxRow.number.in_(delivered)))
    if rest:
        session.execute(update(OutboxRow).where(OutboxRow.number.in_(rest)).values(claimed_until=0.0))


def _drop_old(session: Session, *, now: float) -> None:
    session.execute(delete(OutboxRow).where(OutboxRow.expires_at < now))
