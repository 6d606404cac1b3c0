"""The server of a control port: what it answers, and that it listens before it answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from otabench.proto.control_server import ControlServer, Message, OperationRefused


def perform(message: Message) -> Message:
    if message.get("op") != "state":
        raise OperationRefused(f"no operation {message.get('op')!r}")
    return {"power": "on"}


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
