"""The server of a control port: what it answers, and that it listens before it answers."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from otabench.proto.control_message import Message
from otabench.proto.control_server import ControlServer, OperationRefused, Perform


def perform(message: Message) -> Message:
    if message.get("op") != "state":
        raise OperationRefused(f"no operation {message.get('op')!r}")
    return {"power": "on"}


def heard_by() -> tuple[list[Message], Perform]:
    """Return an owner that accepts everything, and the list of what it receives."""
    heard: list[Message] = []

    def hear(message: Message) -> Message:
        heard.append(message)
        return {}

    return heard, hear


@pytest.fixture
def server() -> Iterator[ControlServer]:
    with ControlServer(perform, host="127.0.0.1", port=0) as listening:
        yield listening


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b'{"op": "state"}', {"ok": True, "power": "on"}),
        (b'{"op": "fly"}', {"ok": False, "error": "no operation 'fly'"}),
        (b'["state"]', {"ok": False, "error": "a line must be one JSON object"}),
        (b"state", {"ok": False, "error": "not JSON: Expecting value: line 1 column 1 (char 0)"}),
        (b"\xff\xfe{", {"ok": False}),
    ],
)
def test_a_line_is_answered_or_refused(server: ControlServer, line: bytes, answer: Message) -> None:
    assert answer.items() <= server.answer(line).items()


@pytest.mark.parametrize(
    "line",
    [
        b'{"op": "state", "op": "fly"}',
        b'{"op": "fault", "volts": NaN}',
        b'{"op": "fault", "volts": -Infinity}',
        b'{"op": "fault", "volts": 1e999}',
        b'{"op": "fault", "count": 18446744073709551616}',
        b'{"op": "fault", "count": ' + b"9" * 60000 + b"}",
        b'{"op": ' + b"[" * 60000,
        b'{"a":' * 10000,
        b'{"op": "state"}' + b" " * 70000,
        b"POST / HTTP/1.1",
        b"",
    ],
)
def test_what_json_leaves_open_is_refused(server: ControlServer, line: bytes) -> None:
    answer = server.answer(line)
    assert answer["ok"] is False
    assert answer["error"].startswith(("not JSON", "a line "))
    assert len(answer["error"]) < 200


def test_the_largest_numbers_are_taken() -> None:
    heard, hear = heard_by()
    with ControlServer(hear, host="127.0.0.1", port=0) as server:
        assert server.answer(b'{"seed": 18446744073709551615, "x": -1.5e300}')["ok"] is True
    assert heard == [{"seed": 2**64 - 1, "x": -1.5e300}]


@pytest.mark.parametrize("token", ['"token": "fals"', '"token": ""', '"token": null', '"token": ["secret"]', '"x": 1'])
def test_without_the_token_nothing_is_performed(token: str) -> None:
    heard, hear = heard_by()
    with ControlServer(hear, host="127.0.0.1", port=0, token="secret") as server:
        refused = server.answer(b'{"op": "power", "state": "off", %s}' % token.encode())
        assert (refused["ok"], heard) == (False, [])
        assert "token" in refused["error"]
        assert server.answer(b'{"op": "power", "token": "secret"}')["ok"] is True
    assert heard == [{"op": "power"}]  # the owner does not see the token


def test_the_body_of_a_browsers_post_is_not_obeyed() -> None:
    """Any page can make a browser POST text/plain to a port of loopback: the head, and then a line of the page's choice."""
    heard, hear = heard_by()
    with (
        ControlServer(hear, host="127.0.0.1", port=0) as server,
        server.serving(),
        socket.create_connection(server.server_address[:2], timeout=5) as browser,  # type: ignore[arg-type]
    ):
        browser.sendall(
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nContent-Type: text/plain\r\n"
            b'Content-Length: 33\r\n\r\n{"op": "power", "state": "off"}\r\n'
        )
        answers = browser.makefile("rb").readlines()
    assert [json.loads(answer)["ok"] for answer in answers] == [False]
    assert heard == []


def test_idle_connections_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otabench.proto.control_server._FIRST_LINE_TIMEOUT_S", 0.05)
    with ControlServer(perform, host="127.0.0.1", port=0) as server, server.serving(), contextlib.ExitStack() as open_:
        idle = [
            open_.enter_context(socket.create_connection(server.server_address[:2], timeout=5))  # type: ignore[arg-type]
            for _ in range(100)
        ]
        assert all(connection.recv(1) == b"" for connection in idle)  # closed, whether at once or after the time
        with socket.create_connection(server.server_address[:2], timeout=5) as connection:  # type: ignore[arg-type]
            connection.sendall(b'{"op": "state"}\n')
            assert json.loads(connection.makefile("rb").readline())["ok"] is True


def test_a_mistake_of_the_owner_is_not_called_bad_json() -> None:
    def broken(_: Message) -> Message:
        raise ValueError("a mistake")

    with ControlServer(broken, host="127.0.0.1", port=0) as server, pytest.raises(ValueError, match="a mistake"):
        server.answer(b"{}")


def test_one_connection_carries_several_lines_and_waits_until_the_owner_serves(server: ControlServer) -> None:
    with socket.create_connection(server.server_address[:2], timeout=5) as connection:  # type: ignore[arg-type]
        connection.sendall(b'{"op": "state"}\n{"op": "fly"}\n')
        with server.serving(), connection.makefile("rb") as answers:
            assert json.loads(answers.readline())["ok"] is True
            assert json.loads(answers.readline())["ok"] is False


def test_a_port_in_use_is_an_os_error(server: ControlServer) -> None:
    with pytest.raises(OSError, match="in use"):
        ControlServer(perform, host="127.0.0.1", port=server.server_address[1])
