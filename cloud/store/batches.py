"""Work on the items of concurrent calls together: one transaction and a few statements for all that wait.

    batches = Batches(judge_all, at_a_time=1)
    outcome = await batches.result_of(request)

A thread hop, a transaction and a statement cost several times as much as what one call does in them. Batches begin 10 ms apart at
least, and items that arrive meanwhile become the next one. So batches grow with the load, and a call that comes alone does not wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from otabench.cloud.errors import Conflict, InvalidRequest

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 100
"""So that a batch is a matter of milliseconds."""
_INTERVAL_S: Final = 0.01
"""Measured with a thousand check-ins a second: a batch of ten costs a quarter of ten batches of one."""


class Batches(Generic[Item, Result]):
    """The items of one kind of call. For one event loop.

    Args:
        work: return one result for each item, in their order.
        at_a_time: batches that are worked on at the same time.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, at_a_time: int = 1) -> None:
        self._work = work
        self._at_a_time = at_a_time
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running = 0
        self._next_s = 0.0
        # The event loop itself holds tasks weakly only.
        self._workers: set[asyncio.Task[None]] = set()

    async def result_of(self, item: Item) -> Result:
        """Return the result of the item.

        Raises:
            RequestError: as ``work``. An item that is refused, or gets into a conflict, does not take others with it.
        """
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._running < self._at_a_time:
            self._running += 1
            worker = asyncio.create_task(self._work_off())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return await result

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                await self._wait_for_turn()
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._settle(batch)
        finally:
            # In the same step as the last look at what waits. A task's callback would come later, and an item between would wait for ever.
            self._running -= 1

    async def _wait_for_turn(self) -> None:
        now_s = time.monotonic()
        # A full batch need not wait.
        if now_s < self._next_s and len(self._waiting) < MAX_BATCH:
            await asyncio.sleep(self._next_s - now_s)
        self._next_s = time.monotonic() + _INTERVAL_S

    async def _settle(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except (InvalidRequest, Conflict) as error:
            if len(batch) == 1:
                _refuse(batch, error)
                return
            # One of them is the cause. The others are answered as if they had come alone.
            for each in batch:
                await self._settle([each])
        except Exception as error:  # noqa: BLE001 (every caller receives it)
            _refuse(batch, error)
        except asyncio.CancelledError:
            for _, waiting in batch:
                waiting.cancel()
            raise
        else:
            for (_, waiting), result in zip(batch, results, strict=True):
                # A caller that hung up has canceled its future.
                if not waiting.done():
                    waiting.set_result(result)


def _refuse(batch: Sequence[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    for _, waiting in batch:
        if not waiting.done():
            waiting.set_exception(error)
