"""A stream that also ends when the server stops.

Without this, a server that shuts down would wait forever for its open event streams, because nothing changes any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def until(closing: asyncio.Event, changes: AsyncIterator[T]) -> AsyncIterator[T]:
    """Yield what ``changes`` yields, and end with it or once ``closing`` is set. ``changes`` is closed in every case."""
    closed = asyncio.create_task(closing.wait())
    following: asyncio.Task[T] | None = None
    try:
        while not closing.is_set():
            following = asyncio.create_task(_next(changes))
            await asyncio.wait((following, closed), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        closed.cancel()
        if following is not None and not following.done():
            following.cancel()  # which also ends the generator behind it, where it is one
        elif isinstance(changes, AsyncGenerator):
            await changes.aclose()


async def _next(changes: AsyncIterator[T]) -> T:
    return await anext(changes)
