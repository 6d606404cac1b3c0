"""The artifact server: GET and HEAD of images, patches and metadata over HTTP.

* Everything that it serves is public; whoever fetches a file verifies it. The store's private folder is answered like a folder that
  does not exist.
* The entity tag is the SHA-256 of the file in the store, computed once for each revision of the file. A gateway that resumes a
  download sends the tag by If-Range, and so never joins parts of two files.
* Which part of a file is sent is decided by ``http_range``. Starlette's FileResponse is not used: the store may be any that fsspec
  has, not only a folder, and FileResponse answers an invalid Range with 400 and a HEAD with 206.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from otabench.cloud.artifacts import http_range
from otabench.cloud.errors import NotReady
from otabench.cloud.ports import bind_port
from otabench.cloud.store.artifact_store import ArtifactStore, StoredFile, is_private
from otabench.proto.trace import TraceWriter

CHUNK_BYTES: Final = 128 * 1024
_MAX_TAGS: Final = 10_000
_START_POLL_S: Final = 0.01
_STOP_S: Final = 0.4
"""How long running responses may go on when the process ends. A gateway resumes what is cut."""


class EntityTags:
    """Strong entity tags, remembered by path and revision. Can be shared between threads."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._tags: dict[StoredFile, str] = {}
        self._lock = threading.Lock()

    def of(self, file: StoredFile) -> str:
        """Return the file's tag, with its quotes.

        Raises:
            OSError: the file cannot be read.
        """
        with self._lock:
            tag = self._tags.get(file)
        if tag is None:
            # Outside the lock, so that one large file does not hold up all others. Two threads may compute the same tag.
            digest = hashlib.sha256()
            with self._store.open(file.path) as content:
                while chunk := content.read(CHUNK_BYTES):
                    digest.update(chunk)
            tag = f'"{digest.hexdigest()}"'
            with self._lock:
                # Only a bound of the memory: cleared whole, because tags can be computed again.
                if len(self._tags) >= _MAX_TAGS:
                    self._tags.clear()
                self._tags[file] = tag
        return tag


def make_app(store: ArtifactStore, *, trace: TraceWriter) -> FastAPI:
    """Return the application.

    Its functions are not coroutines: FastAPI runs them in threads, because the store's calls block.
    """
    app = FastAPI(title="otabench artifacts", docs_url=None, redoc_url=None, openapi_url=None)
    tags = EntityTags(store)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.api_route("/artifacts/{path:path}", methods=["GET", "HEAD"])
    def artifact(path: str, request: Request) -> Response:
        try:
            file = None if is_private(path) else store.find(path)
            if file is None:
                raise HTTPException(404, f"there is no artifact {path!r}")
            etag = tags.of(file)
        except (NotReady, OSError) as error:
            raise HTTPException(503, f"the artifact store does not answer: {error}") from error
        is_get = request.method == "GET"  # RFC 9110, 14.2: Range is defined for GET only
        part = http_range.judge(
            length=file.length,
            etag=etag,
            range_=request.headers.get("range") if is_get else None,
            if_range=request.headers.get("if-range") if is_get else None,
            if_none_match=request.headers.get("if-none-match"),
        )
        trace.emit(
            "artifact.served", path=path, method=request.method, status=part.status, start=part.start, bytes=part.length
        )
        return _respond(store, file, etag, part, body=is_get)

    return app


def _respond(store: ArtifactStore, file: StoredFile, etag: str, part: http_range.Part, *, body: bool) -> Response:
    # no-cache: metadata changes under the same name, so a cache between has to compare tags first.
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if part.status == 304:
        return Response(status_code=304, headers=headers)
    if part.status == 416:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{file.length}"})
    headers["Content-Length"] = str(part.length)
    kind = "application/json" if file.path.endswith(".json") else "application/octet-stream"
    if part.status == 206:
        headers["Content-Range"] = f"bytes {part.start}-{part.start + part.length - 1}/{file.length}"
    if not body:
        return Response(status_code=part.status, headers=headers, media_type=kind)
    return StreamingResponse(_chunks(store, file, part), part.status, headers=headers, media_type=kind)


def _chunks(store: ArtifactStore, file: StoredFile, part: http_range.Part) -> Iterator[bytes]:
    # A file that has become shorter since ends the response early, which Content-Length shows to the client.
    left = part.length
    with store.open(file.path) as content:
        content.seek(part.start)
        while left and (chunk := content.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: signals are handled for all planes together (``cloud.process``)."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def serve_artifacts(*, store: ArtifactStore, host: str, port: int, trace: Path | None) -> AsyncIterator[None]:
    """Serve the store while the block runs.

    Raises:
        StartError: the port is taken (on entering the block).
    """
    writer = TraceWriter(trace, component="cloud.artifacts")
    bound = bind_port(host, port, what="artifact server (artifact_port)")
    # log_config: uvicorn's own would replace the logging of the whole process. lifespan: the application has nothing to start.
    config = uvicorn.Config(
        make_app(store, trace=writer), log_config=None, access_log=False, lifespan="off", timeout_keep_alive=30
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not task.done():
        await asyncio.sleep(_START_POLL_S)
    try:
        yield
    finally:
        server.should_exit = True
        done, _ = await asyncio.wait({task}, timeout=_STOP_S)
        if not done:
            # A download in progress would keep the server waiting for its end.
            server.force_exit = True
            task.cancel()
        bound.close()
        writer.close()
