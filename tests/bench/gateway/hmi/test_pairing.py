"""Pairing: without the code nobody sees the vehicle or decides; with it a session begins, which only its own browser can use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

import otabench.bench.gateway.hmi.app as hmi_app
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.errors import EndpointError
from otabench.bench.gateway.hmi import pairing
from otabench.bench.gateway.hmi.access import Gatekeeper, cookie_name
from otabench.bench.gateway.hmi.connections import Connections
from otabench.bench.gateway.hmi.model import Decision
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.gateway.hmi.rate_limit import RateLimit
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.memory_model import OFFER, VIN, MemoryModel
from tests.bench.gateway.hmi.serving import CODE, serving

INSTALL = {"job_id": "job-1", "decision": "install"}


def visit(
    story: Callable[[httpx.AsyncClient], Awaitable[None]],
    *,
    model: MemoryModel | None = None,
    paired: Pairing | None = None,
    base: str = "http://localhost:8080",
    **kwargs: Any,
) -> None:
    """Run a story with a browser that has never been here."""

    async def run() -> None:
        gatekeeper = Gatekeeper(paired or Pairing(CODE), Connections())
        app = hmi_app.create_app(model or MemoryModel(**OFFER), gatekeeper)
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url=base, **kwargs) as client:
            await story(client)

    asyncio.run(run())


def test_without_a_session_nothing_about_the_vehicle_is_answered() -> None:
    model = MemoryModel(**OFFER)

    async def story(client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        assert page.status_code == 200
        assert 'data-testid="pair"' in page.text
        assert VIN not in page.text
        for method, path in (
            ("GET", "/api/state"),
            ("GET", "/api/events"),
            ("POST", "/api/decision"),
            ("GET", "/api/x"),
        ):
            answer = await client.request(method, path, json=INSTALL)
            assert answer.status_code == 401, path
            assert "not paired" in answer.json()["error"]
            assert VIN not in answer.text
        assert (await client.get("/healthz")).status_code == 200

    visit(story, model=model)
    assert model.decisions == []


def test_the_printed_link_pairs_at_once() -> None:
    async def story(client: httpx.AsyncClient) -> None:
        answer = await client.get(f"/pair/{CODE}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
        assert CODE not in cookie
        assert VIN in (await client.get("/")).text
        assert (await client.get("/api/state")).json()["vin"] == VIN
        assert (await client.post("/api/decision", json=INSTALL)).status_code == 200

    visit(story)


@pytest.mark.parametrize("typed", [CODE, CODE.lower(), CODE.replace("-", ""), f" {CODE.replace('-', ' ')} "])
def test_the_form_takes_the_code_as_people_type_it(typed: str) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        assert (await client.post("/api/pair", json={"code": typed})).status_code == 200
        assert (await client.get("/api/state")).status_code == 200

    visit(story)


@pytest.mark.parametrize("code", [CODE[:-1], CODE[:-1] + "0", CODE + "A", "", "é" * 16, "x" * 101])
def test_a_wrong_code_opens_nothing_by_any_way(code: str) -> None:
    async def story(client: httpx.AsyncClient) -> None:
        assert (await client.post("/api/pair", json={"code": code})).status_code in (403, 422)
        page = await client.get(f"/pair/{code}")
        assert page.status_code in (403, 404)
        assert VIN not in page.text
        if code.isascii():
            assert (await client.get("/api/state", headers={"Authorization": f"Bearer {code}"})).status_code == 401
        assert (await client.get("/api/state")).status_code == 401

    visit(story)


def test_wrong_codes_are_limited_while_sessions_go_on() -> None:
    session = {"cookie": f"{cookie_name('localhost:8080')}={Pairing(CODE).new_session()}"}

    async def story(client: httpx.AsyncClient) -> None:
        answers = [await client.post("/api/pair", json={"code": "WRNG"}) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [403] * 10 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 5
        # the right code has to wait too, by every way: otherwise the limit would tell nothing to a guesser
        assert (await client.get(f"/pair/{CODE}")).status_code == 429
        assert (await client.get("/api/state", headers={"Authorization": f"Bearer {CODE}"})).status_code == 429
        assert (await client.get("/api/state", headers=session)).status_code == 200

    visit(story)


def test_decisions_are_limited() -> None:
    model = MemoryModel(**{**OFFER, "job_state": JobState.INSTALLING})

    async def story(client: httpx.AsyncClient) -> None:
        answers = [await client.post("/api/decision", json=INSTALL) for _ in range(21)]
        assert {answer.status_code for answer in answers[:20]} == {409}
        assert answers[20].status_code == 429
        assert "Too many decisions" in answers[20].json()["error"]

    visit(story, model=model, headers={"Authorization": f"Bearer {CODE}"})


def test_another_site_can_neither_pair_nor_decide() -> None:
    async def story(client: httpx.AsyncClient) -> None:
        await client.get(f"/pair/{CODE}")
        for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            for path, body in (("/api/pair", {"code": CODE}), ("/api/decision", INSTALL)):
                answer = await client.post(path, json=body, headers=foreign)
                assert answer.status_code == 403, (path, foreign)
                assert "set-cookie" not in answer.headers

    visit(story)


def test_a_new_code_ends_all_sessions_and_a_restart_none() -> None:
    token = Pairing(CODE).new_session()
    assert Pairing(CODE).is_session(token)
    assert not Pairing(pairing.new_code()).is_session(token)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: ("1" if token[0] == "0" else "0") + token[1:],
        lambda token: token[:-1],
        lambda token: token.partition(".")[0],
        lambda token: token.partition(".")[2],
        lambda _: ".",
        lambda _: "",
    ],
)
def test_a_session_cannot_be_made_up(change: Callable[[str], str]) -> None:
    assert not Pairing(CODE).is_session(change(Pairing(CODE).new_session()))


def test_the_benchs_client_brings_the_code() -> None:
    model = MemoryModel(**OFFER)
    with serving(model) as url:
        port = int(url.rpartition(":")[2])
        client = HmiClient(port, code=CODE)
        assert client.state()["vin"] == VIN
        client.decide("install", job_id="job-1")
        assert client.link.endswith(f":{port}/pair/{CODE}")
        assert CODE not in repr(client)
        with pytest.raises(EndpointError, match="401: This display is not paired"):
            HmiClient(port).state()
        assert HmiClient(port).is_up()
    assert model.decisions == [("job-1", Decision.INSTALL)]


def test_sessions_of_benches_side_by_side_do_not_replace_each_other() -> None:
    # a browser sends the cookies of localhost:8080 to localhost:8081 too
    assert cookie_name("localhost:8080") != cookie_name("localhost:8081")
    assert cookie_name("localhost") == cookie_name("localhost:80")


def test_new_codes_differ_and_have_80_bits() -> None:
    codes = {pairing.new_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code.replace("-", "")) == 16 for code in codes)


@pytest.mark.parametrize(
    "code", ["", "1234", "K7QM-2XFD-9RTP-AB3", "K7QM-2XFD-9RTP-AB3!", "removed when the run ended"]
)
def test_a_code_that_is_none_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="4 groups of 4"):
        Pairing(code)


def test_a_rate_limit_lets_a_burst_through_and_then_a_rate() -> None:
    limit = RateLimit(burst=3, per_s=0.5)
    for _ in range(3):
        assert limit.wait_s("a", now_s=10.0) == 0
        limit.spend("a", now_s=10.0)
    assert limit.wait_s("a", now_s=10.0) == pytest.approx(2.0)
    assert limit.wait_s("b", now_s=10.0) == 0
    assert limit.wait_s("a", now_s=12.0) == 0
    assert limit.wait_s("a", now_s=1e9) == 0


def test_a_rate_limit_remembers_a_bounded_number_of_keys() -> None:
    limit = RateLimit(burst=1, per_s=0.001)
    for number in range(3000):
        limit.spend(str(number), now_s=0.0)
    assert len(limit._buckets) <= 1024
    assert limit.wait_s("2999", now_s=0.0) > 0
