"""The driver's decision, sent by a client: it counts as taken when the page shows it, however long the gateway takes to answer."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from otabench.bench.clients import hmi
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.errors import EndpointError

WAITS = {"job_id": "job-1", "job_state": "WAITING_FOR_APPROVAL", "offer": "offer-1"}
LATE = {**WAITS, "late_s": 0.15}


@contextmanager
def gateway(*states: dict[str, Any], answers_decisions: bool = False) -> Iterator[HmiClient]:
    """Serve one state after the other; the last one stays. A decision is answered only at the end, unless asked for."""
    left, over = list(states), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state = left.pop(0) if len(left) > 1 else left[0]
            over.wait(state.get("late_s", 0))
            self._answer(200, state)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["decision"] in ("install", "schedule") and body["offer"] != WAITS["offer"]:
                self._answer(400, {"error": "not the offer that is shown"})
            if not answers_decisions:
                over.wait(10)
            self._answer(409, {"error": "no"})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # the client has hung up

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        try:
            yield HmiClient(server.server_port)
        finally:
            over.set()
            server.shutdown()
            serving.join()


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmi, "_TIMEOUT_S", 0.1)
    # An answer that a busy machine delays is asked for again, as often as it takes.
    monkeypatch.setattr(hmi, "_DECISION_LIMIT_S", 30.0)
    monkeypatch.setattr(hmi, "_CONFLICT_PATIENCE_S", 0.1)
    monkeypatch.setattr(hmi, "_INTERVAL_S", 0.01)


@pytest.mark.parametrize(
    ("decision", "after"),
    [
        ("install", {"job_state": "DOWNLOADING"}),
        ("install", {"job_state": "SUCCEEDED", "ending": "installed"}),
        ("install", {"job_state": "FAILED", "ending": "unchanged"}),
        ("decline", {"job_state": "REJECTED", "ending": "declined"}),
        ("later", {"deferred_until": 1.0}),
        ("schedule", {"start_from": 1.0}),
        ("cancel", {"job_state": "CANCELED", "ending": "withdrawn"}),
    ],
)
def test_a_decision_that_is_answered_late_was_taken_if_the_page_shows_it(decision: str, after: dict[str, Any]) -> None:
    with gateway(WAITS, WAITS, {**WAITS, **after}) as client:
        client.decide(decision, job_id="job-1")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"job_state": "CANCELED", "ending": "withdrawn", "reason": "by the operator"}, "is CANCELED .by the operator"),
        ({"job_id": "job-2"}, "not taken: job job-2 is WAITING"),
    ],
)
def test_a_decision_that_the_page_does_not_show_is_an_error(after: dict[str, Any], words: str) -> None:
    with gateway(WAITS, {**WAITS, **after}) as client, pytest.raises(EndpointError, match=words):
        client.decide("install", job_id="job-1")


def test_a_decision_that_the_page_never_shows_is_an_error_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Long enough for the page on a busy machine; the decision itself is never answered.
    monkeypatch.setattr(hmi, "_TIMEOUT_S", 1.0)
    monkeypatch.setattr(hmi, "_DECISION_LIMIT_S", 0.3)
    words = "not answered in time, and not taken: job job-1 is WAITING_FOR_APPROVAL"
    with gateway(WAITS) as client, pytest.raises(EndpointError, match=words):
        client.decide("install", job_id="job-1")


def test_an_offer_that_is_shown_late_is_waited_for() -> None:
    with gateway(LATE, WAITS, {**WAITS, "job_state": "DOWNLOADING"}) as client:
        client.decide("install", job_id="job-1")


def test_a_gateway_that_shows_nothing_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmi, "_DECISION_LIMIT_S", 0.3)
    with gateway(LATE) as client, pytest.raises(EndpointError, match="no answer to GET /api/state within"):
        client.decide("install", job_id="job-1")


def test_a_refusal_is_raised_with_its_reason() -> None:
    with (
        gateway(WAITS, answers_decisions=True) as client,
        pytest.raises(EndpointError, match=r"is refused \(409\): no"),
    ):
        client.decide("install", job_id="job-1")
