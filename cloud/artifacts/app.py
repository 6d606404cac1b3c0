"""The artifact server: GET and HEAD of images and patches over HTTP.

Rules:

* All served files are public, and clients verify them. For a path in the store's private folder the answer is 404, as for a folder that
  does not exist.
* The entity tag is the SHA-256 of the stored file, computed once for each revision. A gateway that resumes a download sends the tag in
  If-Range, and so never joins parts of two files.

``http_range`` chooses the part of a file. ADR 9 explains why Starlette's FileResponse is not used.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from otabench.cloud.artifacts import http_range
from otabench.cloud.artifacts.protocol import LimitedConfig
from otabench.cloud.errors import NotReady
from otabench.cloud.ports import bind_port
from otabench.cloud.store.artifact_store import ArtifactStore, StoredFile, is_private
from otabench.proto.foreign_text import printable
from otabench.proto.trace import TraceWriter

_log = logging.getLogger(__name__)
_MAX_TAGS: Final = 10_000
_START_POLL_S: Final = 0.01
_STOP_S: Final = 0.4
"""How long running responses may continue when the process ends. A gateway resumes a download that was cut off."""


class EntityTags:
    """Strong entity tags, cached by path and revision. Threads may share them."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._tags: dict[StoredFile, str] = {}
        self._lock = threading.Lock()

    def of(self, file: StoredFile) -> str:
        """Return the file's tag, with its quotes.

        Raises:
            NotReady: the file cannot be read.
        """
        with self._lock:
            tag = self._tags.get(file)
        if tag is None:
            # Hash outside the lock, so that one large file does not block all others. Two threads may then compute the same tag.
            digest = hashlib.sha256()
            for piece in self._store.pieces(file.path):
                digest.update(piece)
            tag = f'"{digest.hexdigest()}"'
            with self._lock:
                # Limit the memory. Clearing everything is good enough, because tags can be computed again.
                if len(self._tags) >= _MAX_TAGS:
                    self._tags.clear()
                self._tags[file] = tag
        return tag


def make_app(store: ArtifactStore, *, trace: TraceWriter) -> FastAPI:
    """Return the application.

    The store's calls block. So the handlers are plain functions, which FastAPI runs in threads.
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
        except NotReady as error:
            # The error's text has the store's path, which is not the caller's business.
            _log.error("%s: %s", printable(path), error)
            raise HTTPException(503, "the artifact store does not answer") from error
        is_get = request.method == "GET"  # RFC 9110, 14.2: Range is defined for GET only
        part = http_range.judge(
            length=file.length,
            etag=etag,
            range_=request.headers.get("range") if is_get else None,
            if_range=request.headers.get("if-range") if is_get else None,
            if_none_match=request.headers.get("if-none-match"),
        )
        try:
            trace.emit(
                "artifact.served",
                path=path,
                method=request.method,
                status=part.status,
                start=part.start,
                bytes=part.length,
            )
        except OSError as error:
            # A full disk must not keep vehicles from their updates.
            _log.warning("trace: artifact.served is not written: %s", error)
        return _respond(store, file, etag, part, body=is_get)

    return app


def _respond(store: ArtifactStore, file: StoredFile, etag: str, part: http_range.Part, *, body: bool) -> Response:
    # An operator may replace a file. With no-cache, a cache in between compares tags before it answers.
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
    # If the file has become shorter meanwhile, the response ends early. The client notices by Content-Length.
    pieces = store.pieces(file.path, start=part.start, length=part.length)
    return StreamingResponse(pieces, part.status, headers=headers, media_type=kind)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, because ``cloud.process`` handles signals for all planes."""

    def capture_signals(self) -> nullcontext[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def serve_artifacts(*, store: ArtifactStore, host: str, port: int, trace: Path | None) -> AsyncIterator[None]:
    """Serve the store while the block runs.

    Raises:
        StartError: the port is in use. Raised on entering the block.
    """
    writer = TraceWriter(trace, component="cloud.artifacts")
    bound = bind_port(host, port, what="artifact server (artifact_port)")
    # uvicorn's own log_config would replace the logging of the whole process. The application has no start-up work, so no lifespan.
    config = LimitedConfig(
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
            # Otherwise the server would wait for the end of a running download.
            server.force_exit = True
            task.cancel()
        bound.close()
        writer.close()
