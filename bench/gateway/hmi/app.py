"""The HMI's HTTP side: the page, its state as JSON and as server-sent events, and the driver's decision.

This module puts the seam ``HmiModel`` on HTTP. It holds no rule about updates: the model decides when a decision is allowed.

* ``GET /`` the page, or the pairing form where the caller is not paired (``access``); ``/static/*`` modules and styles; nothing is loaded
  from anywhere else.
* ``GET /pair/CODE`` pairs and leads to the page: the link that the bench prints. ``POST /api/pair`` ``{"code": …}`` does the same for
  the form. Both set the session's cookie; 403 for a wrong code, 429 after too many.
* ``GET /api/state`` the state now.
* ``GET /api/events`` event ``state`` with the whole state, at once and on every change, at most ten a second (the latest wins).
  Its id is ``seq``; a client that comes back with Last-Event-ID is not sent the state it has. A counter can start anew with the
  gateway, so the page also names the run its id is from; an id of another run is ignored.
* ``POST /api/decision`` ``{"job_id": …, "decision": "install" | "schedule" | "later" | "decline" | "cancel", …}``: 200, or 409 with the
  model's sentence, 429 for too many. ``install`` and ``schedule`` name what was shown: ``offer`` as in the state, and ``language`` of the
  texts. ``schedule`` has ``when``, ``decline`` may have a ``reason``.
* ``GET /healthz``.

Every other ``/api/…`` is answered with 401 where the caller is not paired.

Every refusal is ``{"error": "one sentence"}``; a decision's has the driver's words, without job id and state, as ``driver``, and the reason
as ``kind``, for words in other languages.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final, TypeVar

from fastapi import FastAPI, Header, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import RedirectResponse, Response

from otabench.bench.gateway.hmi.access import WRONG_CODE, Access, Gatekeeper, TooMany, caller_of, cookie_name, too_many
from otabench.bench.gateway.hmi.guard import Guard
from otabench.bench.gateway.hmi.model import Choice, Decision, DecisionRefused, HmiModel, HmiState, Refusal
from otabench.bench.gateway.hmi.stream import until

_HERE: Final = Path(__file__).parent
_BODY_MAX_BYTES: Final = 4096
_BODY_TIMEOUT_S: Final = 5.0
_EVENT_INTERVAL_S: Final = 0.1
_RETRY_MS: Final = 1000


class DecisionRequest(BaseModel):
    """Body of ``POST /api/decision``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str = Field(min_length=1, max_length=200)
    decision: Decision
    offer: str = Field(default="", max_length=64)
    language: str = Field(default="", max_length=40)
    when: str = Field(default="", max_length=40)
    reason: str = Field(default="", max_length=200)


class PairRequest(BaseModel):
    """Body of ``POST /api/pair``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(min_length=1, max_length=100)


Body = TypeVar("Body", DecisionRequest, PairRequest)


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(model: HmiModel, gatekeeper: Gatekeeper) -> FastAPI:
    """Return the HMI over ``model``, as an ASGI application.

    ``app.state.closing`` is an ``asyncio.Event``: once set, all event streams end, so that the server can stop at once.
    """
    app = FastAPI(title="otabench HMI", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Access, gatekeeper=gatekeeper)
    app.add_middleware(Guard)  # the last one added comes first
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.state.closing = asyncio.Event()
    app.add_exception_handler(DecisionRefused, _decision_refused)
    app.add_exception_handler(_Refused, _refused)
    app.add_exception_handler(TooMany, _too_many)
    run = secrets.token_hex(8)
    templates = Jinja2Templates(directory=_HERE / "templates")
    _add_pages(app, model, gatekeeper, templates=templates, run=run)
    _add_api(app, model, gatekeeper, run=run)
    return app


def _add_pages(app: FastAPI, model: HmiModel, gatekeeper: Gatekeeper, *, templates: Jinja2Templates, run: str) -> None:
    def pairing_form(request: Request, *, error: str = "", status: int = 200) -> Response:
        return templates.TemplateResponse(request, "pair.html", {"error": error}, status_code=status)

    @app.get("/", response_class=HTMLResponse)
    async def page(request: Request) -> Response:
        if caller_of(request.scope) is None:
            return pairing_form(request)
        return templates.TemplateResponse(request, "index.html", {"vin": model.snapshot().vin, "run": run})

    @app.get("/pair/{code}", response_class=HTMLResponse)
    async def pair_by_link(request: Request, code: str) -> Response:
        try:
            accepted = gatekeeper.accepts_code(code, request.scope)
        except TooMany as error:
            return pairing_form(request, error=str(error), status=429)
        if not accepted:
            return pairing_form(request, error=WRONG_CODE, status=403)
        return _with_session(RedirectResponse("/", status_code=303), request, gatekeeper)

    @app.post("/api/pair")
    async def pair(request: Request) -> Response:
        wanted = await _read(request, PairRequest)
        if not gatekeeper.accepts_code(wanted.code, request.scope):
            raise _Refused(403, WRONG_CODE)
        return _with_session(JSONResponse({"paired": True}), request, gatekeeper)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}


def _add_api(app: FastAPI, model: HmiModel, gatekeeper: Gatekeeper, *, run: str) -> None:
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
        caller = caller_of(request.scope) or ""
        gatekeeper.count_decision(caller)
        wanted = await _read(request, DecisionRequest)
        choice = Choice(
            decision=wanted.decision,
            offer=wanted.offer,
            language=wanted.language,
            when=wanted.when,
            reason=" ".join(wanted.reason.split()),
            session=caller,
            pairing=gatekeeper.pairing.fingerprint,
        )
        await model.decide(wanted.job_id, choice)
        return {"job_id": wanted.job_id, "decision": wanted.decision}


def _with_session(answer: Response, request: Request, gatekeeper: Gatekeeper) -> Response:
    """Return the answer with the cookie of a new session. The cookie ends with the browser, or with the pairing code."""
    name = cookie_name(request.headers["host"])
    answer.set_cookie(name, gatekeeper.pairing.new_session(), httponly=True, samesite="strict", path="/")
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _decision_refused(_: Request, error: Exception) -> JSONResponse:
    sentence, kind = (error.sentence, error.kind) if isinstance(error, DecisionRefused) else (str(error), Refusal.OTHER)
    return JSONResponse({"error": str(error), "driver": sentence, "kind": kind}, status_code=409)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=error.status if isinstance(error, _Refused) else 400)


async def _too_many(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooMany)
    return too_many(error)


async def _read(request: Request, form: type[Body]) -> Body:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused(415, "The body must be sent as application/json.")
    try:
        return form.model_validate_json(await _read_body(request))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise _Refused(422, f"{where}: {first['msg']}") from error


async def _read_body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_MAX_BYTES:
                    raise _Refused(413, f"The body may have at most {_BODY_MAX_BYTES} bytes.")
    except TimeoutError as error:
        raise _Refused(408, f"The body did not arrive within {_BODY_TIMEOUT_S:.0f} s.") from error
    return body
