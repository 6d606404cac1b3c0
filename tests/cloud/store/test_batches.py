"""Batches: items of concurrent calls are worked on together, none is lost, and one does not harm the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from otabench.cloud.errors import Conflict, InvalidRequest, NotReady, RequestError
from otabench.cloud.store.batches import MAX_BATCH, Batches


class Work:
    """Squares its items, and refuses the negative ones."""

    def __init__(self, error: type[RequestError] = InvalidRequest) -> None:
        self.batches: list[list[int]] = []
        self.error = error

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        await asyncio.sleep(0.001)
        if any(item < 0 for item in items):
            raise self.error(f"{min(items)} is negative")
        return [item * item for item in items]


def results_of(work: Work, items: Sequence[int]) -> list[int | BaseException]:
    async def run() -> list[int | BaseException]:
        batches: Batches[int, int] = Batches(work)
        return await asyncio.gather(*map(batches.result_of, items), return_exceptions=True)

    return asyncio.run(run())


def test_concurrent_items_share_batches_up_to_the_limit() -> None:
    work = Work()

    assert results_of(work, range(250)) == [item * item for item in range(250)]

    assert max(map(len, work.batches)) == MAX_BATCH
    assert len(work.batches) == 3
    assert sorted(item for batch in work.batches for item in batch) == list(range(250))


@pytest.mark.parametrize("error", [InvalidRequest, Conflict])
def test_a_refused_item_does_not_harm_the_others(error: type[RequestError]) -> None:
    results = results_of(Work(error), [1, 2, -3, 4])

    assert [results[0], results[1], results[3]] == [1, 4, 16]
    assert isinstance(results[2], error)


def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    work = Work(NotReady)

    results = results_of(work, [1, -2, 3])

    assert all(isinstance(result, NotReady) for result in results)
    assert len(work.batches) == 1


def test_no_item_is_lost_however_it_meets_the_end_of_a_batch() -> None:
    async def run() -> None:
        batches: Batches[int, int] = Batches(Work())

        async def call_in_turn(number: int) -> None:
            for item in range(40):
                assert await batches.result_of(item) == item * item
                for _ in range(number):
                    await asyncio.sleep(0)

        async with asyncio.timeout(30):
            await asyncio.gather(*map(call_in_turn, range(5)))

    asyncio.run(run())


def test_a_caller_that_hangs_up_leaves_the_others_alone() -> None:
    async def run() -> int:
        batches: Batches[int, int] = Batches(Work())
        gone = asyncio.create_task(batches.result_of(1))
        stays = asyncio.create_task(batches.result_of(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(run()) == 4
