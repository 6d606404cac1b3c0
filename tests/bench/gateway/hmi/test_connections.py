"""Connections that cost their opener nothing do not lock the driver out."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from otabench.bench.gateway.hmi import protocol
from otabench.bench.gateway.hmi.connections import (
    MAX_PAIRED,
    MAX_UNPAIRED,
    MAX_UNPAIRED_OF_ONE_ADDRESS,
    Connections,
)
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.server import HmiServer
from tests.bench.gateway.hmi.memory_model import OFFER, VIN, MemoryModel
from tests.bench.gateway.hmi.serving import CODE

BEARER = {"Authorization": f"Bearer {CODE}"}


class Opened:
    """Connections, and which of them were closed for another."""

    def __init__(self) -> None:
        self.connections = Connections()
        self.closed: list[tuple[str, int]] = []

    def open(self, address: str, port: int, *, pair: bool = False) -> None:
        self.connections.opened((address, port), lambda: self.closed.append((address, port)))
        if pair:
            self.connections.paired((address, port))


def test_the_oldest_unpaired_connection_of_an_address_gives_way() -> None:
    opened = Opened()
    for port in range(MAX_UNPAIRED_OF_ONE_ADDRESS + 2):
        opened.open("10.0.0.1", port)
    assert opened.closed == [("10.0.0.1", 0), ("10.0.0.1", 1)]


def test_a_flood_closes_no_paired_connection_and_no_other_addresss() -> None:
    opened = Opened()
    opened.open("10.0.0.1", 1, pair=True)
    opened.open("10.0.0.2", 1)
    for port in range(2, 500):
        opened.open("10.0.0.1", port)
    assert ("10.0.0.1", 1) not in opened.closed
    assert ("10.0.0.2", 1) not in opened.closed
    assert len(opened.closed) == 498 - MAX_UNPAIRED_OF_ONE_ADDRESS


def test_a_flood_from_many_addresses_is_bounded_in_total() -> None:
    opened = Opened()
    for number in range(1000):
        opened.open(f"10.0.{number // 250}.{number % 250}", 1)
    assert 1000 - len(opened.closed) == MAX_UNPAIRED


def test_paired_connections_are_bounded_too_and_closed_ones_make_room() -> None:
    opened = Opened()
    for port in range(MAX_PAIRED + 1):
        opened.open("10.0.0.1", port, pair=True)
    assert opened.closed == [("10.0.0.1", 0)]
    opened.connections.closed(("10.0.0.1", 1))
    opened.open("10.0.0.1", 900, pair=True)
    assert opened.closed == [("10.0.0.1", 0)]


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "], ids=["idle", "half a head"])
def test_the_driver_is_served_while_idle_connections_are_open(sent: bytes) -> None:
    async def story() -> None:
        async with (
            asyncio.timeout(30),
            HmiServer(MemoryModel(**OFFER), Pairing(CODE), port=0) as server,
            httpx.AsyncClient(base_url=server.url, headers=BEARER, trust_env=False) as driver,
            driver.stream("GET", "/api/events") as open_page,
        ):
            await anext(open_page.aiter_lines())
            writers = await _open(server, 200, sent)
            for _ in range(3):  # each on a connection of its own, as a page that is loaded anew
                answer = await driver.get("/api/state", headers={"Connection": "close"})
                assert answer.status_code == 200
                assert answer.json()["vin"] == VIN
            assert not open_page.is_closed
            for writer in writers:
                writer.transport.abort()

    asyncio.run(story())


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHos",
        b"POST /api/pair HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)
def test_a_slow_request_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr("otabench.bench.gateway.hmi.app._BODY_TIMEOUT_S", 0.2)

    async def story() -> None:
        async with asyncio.timeout(30), HmiServer(MemoryModel(), Pairing(CODE), port=0) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(sent)
            with contextlib.suppress(ConnectionResetError):
                # a byte now and then does not help: the deadline is for the whole head
                while not reader.at_eof():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(4096), 0.05)
                    writer.write(b"a")
            writer.close()

    asyncio.run(story())


async def _open(server: HmiServer, number: int, sent: bytes) -> list[asyncio.StreamWriter]:
    writers = []
    for _ in range(number):
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(sent)
        writers.append(writer)
    return writers
