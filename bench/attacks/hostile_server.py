"""An artifact server in the attacker's hands: it answers every request in one hostile way."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Answers one request, whose head was read."""
_CHUNK: Final = b"\0" * 16_384
_ENDLESS_BYTES: Final = 256 * 1024 * 1024
"""Where an endless answer ends all the same, if nobody hangs up."""


@asynccontextmanager
async def hostile_server(behaviour: Behaviour) -> AsyncIterator[str]:
    """Serve on loopback while the context lasts, and give its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await behaviour(writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.close()


def serves(content: bytes) -> Behaviour:
    """Return an answer with other contents than were asked for."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(f"Content-Length: {len(content)}") + content)
        await writer.drain()

    return behave


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send bytes without an end and without a length."""
    writer.write(_head("Connection: close"))
    for _ in range(_ENDLESS_BYTES // len(_CHUNK)):
        writer.write(_CHUNK)
        await writer.drain()


async def endless_in_chunks(writer: asyncio.StreamWriter) -> None:
    """Send chunks without a last one (chunked transfer coding)."""
    writer.write(_head("Transfer-Encoding: chunked"))
    for _ in range(_ENDLESS_BYTES // len(_CHUNK)):
        writer.write(b"%X\r\n%b\r\n" % (len(_CHUNK), _CHUNK))
        await writer.drain()


def compressed(length: int) -> Behaviour:
    """Return an answer that is small on the line and has ``length`` bytes when it is decompressed."""
    bomb = gzip.compress(b"\0" * length)

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}") + bomb)
        await writer.drain()

    return behave


async def drips(writer: asyncio.StreamWriter) -> None:
    """Send a few bytes at a time, often enough not to look dead."""
    writer.write(_head("Connection: close"))
    for _ in range(10_000):
        writer.write(b"..")
        await writer.drain()
        await asyncio.sleep(0.02)


async def swallows(writer: asyncio.StreamWriter) -> None:
    """Read the request, and never answer."""
    await asyncio.sleep(60.0)


async def cuts(writer: asyncio.StreamWriter) -> None:
    """Hang up."""


def _head(fields: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode()
