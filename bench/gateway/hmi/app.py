"""The HMI's HTTP side: the page, its state as JSON and as server-sent events, and the driver's decision.

This module puts the seam ``HmiModel`` on HTTP. It holds no rule about updates: the model decides when a decision is allowed.

* ``GET /`` the page; ``/static/*`` its modules and styles; nothing is loaded from anywhere else.
* ``GET /api/state`` the state now.
* ``GET /api/events`` event ``state`` with the whole state, at once and on every change, at most ten a second (the latest wins).
  Its id is ``seq``; a client that comes back with Last-Event-ID is not sent the state it has. A counter can start anew with the
  gateway, so the page also names the run its id is from; an id of another run is ignored.
* ``POST /api/decision`` ``{"job_id": …, "decision": "install" | "later" | "decline"}``: 200, or 409 with the model's sentence.
* ``GET /healthz``.

Every refusal is ``{"error": "one sentence"}``; a decision's has the driver's words, without job id and state, as ``driver``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

from fastapi import FastAPI, Header, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from otabench.bench.gateway.hmi.guard import Guard
from otabench.bench.gateway.hmi.model import Decision, DecisionRefused, HmiModel, HmiState
from otabench.bench.gateway.hmi.stream import until

_HERE: Final = Path(__file__).parent
_DECISION_MAX_BYTES: Final = 4096
_EVENT_INTERVAL_S: Final = 0.1
_RETRY_MS: Final = 1000


class DecisionRequest(BaseModel):
    """Body of ``POST /api/decision``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str = Field(min_length=1, max_length=200)
    decision: Decision


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(model: HmiModel) -> FastAPI:
    """Return the HMI over ``model``, as an ASGI application.

    ``app.state.closing`` is an ``asyncio.Event``: once set, all event streams end, so that the server can stop at once.
    """
    app = FastAPI(title="otabench HMI", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.state.closing = asyncio.Event()
    templates = Jinja2Templates(directory=_HERE / "templates")
    run = secrets.token_hex(8)
    app.add_exception_handler(DecisionRefused, _decision_refused)
    app.add_exception_handler(_Refused, _refused)

    @app.get("/", response_class=HTMLResponse)
    async def page(request: Request) -> HTMLResponse:
        return templates.TemplateResponse(request, "index.html", {"vin": model.snapshot().vin, "run": run})

    @app.get("/api/state")
    async def state() -> HmiState:
        return model.snapshot()

    @app.get("/api/events", response_class=EventSourceResponse)
    async def events(
        last_event_id: Annotated[str | None, Header()] = None, of_run: str | None = None
    ) -> AsyncIterator[ServerSentEvent]:
        known = last_event_id if of_run in (None, run) else None
        yield ServerSentEvent(comment="the state of the update, on every change", retry=_RETRY_MS)
        async for current in until(app.state.closing, model.changes()):
            if str(current.seq) == known:
                continue
            known = str(current.seq)
            yield ServerSentEvent(event="state", id=known, raw_data=current.model_dump_json())
            await asyncio.sleep(_EVENT_INTERVAL_S)

    @app.post("/api/decision")
    async def decision(request: Request) -> dict[str, str]:
        wanted = _parse_decision(request.headers.get("content-type", ""), await _read_body(request))
        await model.decide(wanted.job_id, wanted.decision)
        return {"job_id": wanted.job_id, "decision": wanted.decision}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


async def _decision_refused(_: Request, error: Exception) -> JSONResponse:
    sentence = error.sentence if isinstance(error, DecisionRefused) else str(error)
    return JSONResponse({"error": str(error), "driver": sentence}, status_code=409)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=error.status if isinstance(error, _Refused) else 400)


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _DECISION_MAX_BYTES:
            raise _Refused(413, f"A decision has at most {_DECISION_MAX_BYTES} bytes.")
    return body


def _parse_decision(content_type: str, body: bytes) -> DecisionRequest:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "A decision is sent as application/json.")
    try:
        return DecisionRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise _Refused(422, f"{where}: {first['msg']}") from error
