"""The HMI over HTTP: the page is self-contained, a decision is taken once and from here, a refusal is one sentence."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

import otabench.bench.gateway.hmi.app as hmi_app
from otabench.bench.gateway.hmi.access import Gatekeeper
from otabench.bench.gateway.hmi.connections import Connections
from otabench.bench.gateway.hmi.model import Decision, HmiState
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.memory_model import OFFER, VIN, MemoryModel
from tests.bench.gateway.hmi.serving import CODE

INSTALL = {"job_id": "job-1", "decision": "install"}
STATIC = Path(hmi_app.__file__).parent / "static"


def ask(
    model: MemoryModel, method: str, path: str, *, base: str = "http://localhost:8080", **kwargs: Any
) -> httpx.Response:
    """Return the answer to a request that has the pairing code."""

    async def call() -> httpx.Response:
        app = hmi_app.create_app(model, Gatekeeper(Pairing(CODE), Connections()))
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 4711))
        bearer = {"Authorization": f"Bearer {CODE}"}
        async with httpx.AsyncClient(transport=transport, base_url=base, headers=bearer) as client:
            return await client.request(method, path, **kwargs)

    return asyncio.run(call())


def test_page_names_the_vehicle_escaped() -> None:
    answer = ask(MemoryModel(vin="<b>&VIN"), "GET", "/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;&amp;VIN" in answer.text
    assert "<b>" not in answer.text


def test_page_and_all_static_files_name_no_other_host() -> None:
    sources = [ask(MemoryModel(), "GET", "/").text, *(file.read_text() for file in sorted(STATIC.iterdir()))]
    assert len(sources) > 10
    for source in sources:
        urls = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+[^\s\"']*", source))
        assert urls <= {"http://www.w3.org/2000/svg"}, urls
        assert "@import" not in source
        assert "innerHTML" not in source


@pytest.mark.parametrize("name", sorted(file.name for file in STATIC.iterdir()))
def test_static_files_are_served_with_their_type(name: str) -> None:
    answer = ask(MemoryModel(), "GET", f"/static/{name}")
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
    assert answer.headers["etag"]


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/healthz", "/static/main.js", "/nowhere", "/docs", "/static/../app.py"]
)
def test_every_answer_carries_the_security_headers(path: str) -> None:
    headers = ask(MemoryModel(), "GET", path).headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/%2e%2e/app.py", "/static/"])
def test_what_is_not_served(path: str) -> None:
    assert ask(MemoryModel(), "GET", path).status_code == 404


def test_state_is_the_models_snapshot() -> None:
    model = MemoryModel(**OFFER)
    assert HmiState.model_validate(ask(model, "GET", "/api/state").json()) == model.snapshot()


def test_health() -> None:
    assert ask(MemoryModel(), "GET", "/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("decision", list(Decision))
def test_decision_reaches_the_model(decision: Decision) -> None:
    model = MemoryModel(**OFFER)
    answer = ask(model, "POST", "/api/decision", json={"job_id": "job-1", "decision": decision})
    assert answer.status_code == 200
    assert model.decisions == [("job-1", decision)]


def test_a_decision_brings_what_was_shown_and_who_decided() -> None:
    model = MemoryModel(**OFFER)
    choice = {"offer": OFFER["offer"], "language": "de", "when": "night", "reason": " a  b "}
    assert ask(model, "POST", "/api/decision", json={**INSTALL, **choice}).status_code == 200
    (made,) = model.choices
    assert made.model_dump() == {
        **choice,
        "decision": "install",
        "reason": "a b",
        "session": "bearer",
        "pairing": Pairing(CODE).fingerprint,
    }
    assert CODE.replace("-", "") not in made.pairing.upper()


@pytest.mark.parametrize(
    ("state", "job_id"),
    [({}, "job-1"), (OFFER, "job-2"), ({**OFFER, "job_state": JobState.INSTALLING}, "job-1")],
    ids=["no job", "another job", "not waiting"],
)
def test_refused_decision_is_409_with_the_models_sentence(state: dict[str, Any], job_id: str) -> None:
    model = MemoryModel(**state)
    answer = ask(model, "POST", "/api/decision", json={**INSTALL, "job_id": job_id})
    assert answer.status_code == 409
    sentence = "This update does not wait for a decision any more."
    assert answer.json() == {"error": sentence, "driver": sentence, "kind": "other"}


def test_a_refusal_keeps_the_words_of_the_workshop_from_the_driver() -> None:
    model = MemoryModel(**OFFER)
    model.refuse_with, model.refuse_detail = "This update is no longer offered.", "it is FAILED now: adas: 31 01 0203"
    answer = ask(model, "POST", "/api/decision", json=INSTALL)
    assert answer.json() == {
        "error": "This update is no longer offered. (it is FAILED now: adas: 31 01 0203)",
        "driver": "This update is no longer offered.",
        "kind": "other",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9090"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
    ],
    ids=["foreign origin", "no origin to tell", "other port", "cross-site", "rebound name"],
)
def test_decision_from_elsewhere_is_403_and_changes_nothing(headers: dict[str, str]) -> None:
    model = MemoryModel(**OFFER)
    before = model.snapshot()
    answer = ask(model, "POST", "/api/decision", json=INSTALL, headers=headers)
    assert answer.status_code == 403
    assert set(answer.json()) == {"error"}
    assert "content-security-policy" in answer.headers
    assert model.decisions == []
    assert model.snapshot() == before


@pytest.mark.parametrize("path", ["/", "/api/state", "/api/events", "/static/main.js", "/healthz"])
def test_rebound_name_reads_nothing(path: str) -> None:
    answer = ask(MemoryModel(**OFFER), "GET", path, base="http://evil.example:8080")
    assert answer.status_code == 403
    assert VIN not in answer.text


def test_decision_must_be_declared_json() -> None:
    # A form or text/plain is what a foreign page can send without the browser asking first.
    model = MemoryModel(**OFFER)
    body = '{"job_id": "job-1", "decision": "install"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = ask(model, "POST", "/api/decision", content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 415
    assert model.decisions == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"job_id": "job-1"}',
        b'{"job_id": "", "decision": "install"}',
        b'{"job_id": 1, "decision": "install"}',
        b'{"job_id": "job-1", "decision": "INSTALL"}',
        b'{"job_id": "job-1", "decision": "install", "force": true}',
    ],
)
def test_malformed_decision_is_422_with_one_sentence(body: bytes) -> None:
    model = MemoryModel(**OFFER)
    answer = ask(model, "POST", "/api/decision", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert model.decisions == []


def test_endless_decision_is_cut_off() -> None:
    body = b'{"job_id": "' + b"x" * 5000 + b'", "decision": "install"}'
    answer = ask(
        MemoryModel(**OFFER), "POST", "/api/decision", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_decision_is_not_a_get() -> None:
    assert ask(MemoryModel(**OFFER), "GET", "/api/decision").status_code == 405
