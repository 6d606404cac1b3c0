"""Slow and idle clients of the artifact server are cut off, and never lock another one out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from otabench.cloud.artifacts import protocol
from otabench.cloud.artifacts.app import serve_artifacts
from otabench.cloud.store.artifact_store import open_store
from otabench.proto.trace import TraceWriter
from tests.cloud.bench import free_port

CONTENT = bytes(range(256)) * 128 * 1024  # more than the sockets' buffers hold
WAIT_S = 20.0


def _serving(folder: Path, story: Callable[[int], Awaitable[None]]) -> None:
    async def run() -> None:
        store, port = open_store(folder.as_uri()), free_port()
        store.put("images/a.bin", CONTENT)
        async with serve_artifacts(store=store, host="127.0.0.1", port=port, trace=None), asyncio.timeout(WAIT_S):
            await story(port)

    asyncio.run(run())


async def _request(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /artifacts/images/a.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return reader, writer


def test_half_a_head_and_no_head_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)

    async def story(port: int) -> None:
        for sent in (b"", b"GET /artifacts/images/a.bin HTTP/1.1\r\nHost:"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)

    _serving(tmp_path, story)


def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_TIMEOUT_S", 0.2)

    async def story(port: int) -> None:
        reader, writer = await _request(port)
        await reader.readexactly(1000)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that can
        await asyncio.sleep(0.7)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(CONTENT))

    _serving(tmp_path, story)


def test_idle_connections_give_way_and_downloads_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OF_ONE_ADDRESS", 4)

    async def story(port: int) -> None:
        # asyncio closes the connection of a writer that nobody holds.
        reader, writer = await _request(port)
        await reader.readuntil(b"\r\n\r\n")
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
        other, other_writer = await _request(port)

        head = await other.readuntil(b"\r\n\r\n")

        assert b"200 OK" in head
        assert await reader.readexactly(len(CONTENT)) == CONTENT
        for held in (writer, other_writer, *(each for _, each in idle)):
            held.close()

    _serving(tmp_path, story)


def test_a_full_disk_of_the_trace_does_not_end_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TraceWriter, "emit", full)

    async def story(port: int) -> None:
        reader, writer = await _request(port)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.close()

    _serving(tmp_path, story)
