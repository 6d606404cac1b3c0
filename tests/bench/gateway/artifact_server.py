"""An artifact server for tests: real HTTP/1.1 on loopback, with Range and ETag, that can be made to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """A fault of the server with one file."""

    TRUNCATED = "its length says less than the manifest, and so little comes"
    BIT_FLIPPED = "one bit differs"
    TOO_LONG = "bytes follow, announced"
    ENDLESS = "bytes follow, without an announced length"
    DRIPS = "a few bytes a second"
    STALLS = "a part, and then nothing"
    DIES = "the connection breaks in the middle"
    UNAVAILABLE = "status 503"
    MISSING = "status 404"
    WRONG_RANGE = "resumes at another byte than asked"


@dataclass
class ArtifactServer:
    """A server of ``files`` by path. ``faults``: the fault of a path and how often it occurs before the server behaves again."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range header of each request."""
    statuses: list[int] = field(default_factory=list)
    drip_s: float = 0.02
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/artifacts/"

    async def start(self) -> None:
        """Listen, on the same port as before a ``stop``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop, and break all connections."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            self._server = None
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(await reader.readuntil(b"\r\n\r\n"), writer)
                await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        lines = head.decode().split("\r\n")
        path = lines[0].split()[1].removeprefix("/artifacts/")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        self.requests.append((path, headers.get("range", "")))
        faults = self.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        if path not in self.files or fault in (Fault.MISSING, Fault.UNAVAILABLE):
            self._head(writer, 503 if fault is Fault.UNAVAILABLE else 404, {"content-length": "0"})
            return
        content = self.files[path]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = 0
        if "range" in headers and headers.get("if-range", etag) == etag:
            start = int(headers["range"].removeprefix("bytes=").rstrip("-"))
        body = _spoilt(content, fault)[start:]
        answer = {"etag": etag, "content-length": str(len(body))}
        if fault is Fault.ENDLESS:
            del answer["content-length"]
        if start:
            shown = start + 1 if fault is Fault.WRONG_RANGE else start
            answer["content-range"] = f"bytes {shown}-{len(content) - 1}/{len(content)}"
        self._head(writer, 206 if start else 200, answer)
        await self._body(writer, body, fault)

    def _head(self, writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
        self.statuses.append(status)
        lines = [f"HTTP/1.1 {status} x", "connection: close", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())

    async def _body(self, writer: asyncio.StreamWriter, body: bytes, fault: Fault | None) -> None:
        if fault is Fault.DRIPS:
            for index in range(len(body)):
                writer.write(body[index : index + 1])
                await writer.drain()
                await asyncio.sleep(self.drip_s)
        elif fault in (Fault.DIES, Fault.STALLS):
            writer.write(body[: len(body) // 2])
            await writer.drain()
            if fault is Fault.STALLS:
                await asyncio.sleep(30)
            await asyncio.sleep(0.02)
            writer.transport.abort()
        elif fault is Fault.ENDLESS:
            writer.write(body)
            while not writer.is_closing():
                writer.write(bytes(4096))
                await writer.drain()
                await asyncio.sleep(0.001)
        else:
            writer.write(body)


def _spoilt(content: bytes, fault: Fault | None) -> bytes:
    if fault is Fault.TRUNCATED:
        return content[: len(content) // 2]
    if fault is Fault.BIT_FLIPPED:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if fault is Fault.TOO_LONG:
        return content + b"x"
    return content
