"""UDS on any bench: the built-in simulators, user-space ISO-TP, or boards; only ``--bench FILE`` differs (docs/pytest.md).

Speaks through the plugin's own fixtures, as a user's tests do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from _pytest.mark import ParameterSet

from otabench.bench.pytest_plugin.handles import Ecu
from otabench.bench.pytest_plugin.uds import IsoTpLink, key_of

Ask = Callable[[str | bytes], str]
"""Sends a request, as hex or bytes; gives the answer as hex, after any 78."""

PENDING = bytes.fromhex("7F0078")
ANSWER_S = PENDING_S = 20.0
"""An ECU answers within 50 ms and 5 s on a quiet machine; these limits only end the test of one that does not."""


ECUS = ("engine", "adas")


def on_each_ecu_in_turn(*cases: tuple[str, ...]) -> list[ParameterSet]:
    """Return each case for one ECU, in turn; the same case for the other ECU is ``exhaustive``.

    Returns:
        Parameters whose first value is for the fixture ``ecu`` (``indirect=["ecu"]``).
    """
    return [
        pytest.param(ecu, *case, marks=[] if (number + place) % 2 == 0 else [pytest.mark.exhaustive])
        for number, case in enumerate(cases)
        for place, ecu in enumerate(ECUS)
    ]


@pytest.fixture(params=ECUS)
def ecu(request: pytest.FixtureRequest, ecus: dict[str, Ecu]) -> Ecu:
    """Each ECU in turn."""
    if request.param not in ecus:
        pytest.skip(f"this bench has no ECU {request.param!r}")
    return ecus[request.param]


@pytest.fixture
def ask(isotp: IsoTpLink) -> Iterator[Ask]:
    def ask(request: str | bytes) -> str:
        payload = bytes.fromhex(request) if isinstance(request, str) else request
        answer = isotp.request(payload, timeout_s=ANSWER_S)
        while answer[:1] + answer[2:] == PENDING[:1] + PENDING[2:]:
            answer = isotp.recv(timeout_s=PENDING_S)
        return answer.hex(" ").upper()

    yield ask
    ask("10 01")


@pytest.fixture
def unlocked(ask: Ask, ecu: Ecu) -> Ask:
    """In the programming session, security access granted."""
    assert ask("10 03").startswith("50 03")
    assert ask("10 02").startswith("50 02")
    seed = bytes.fromhex(ask("27 01"))[2:]
    assert any(seed), "locked, so the seed is not zero"
    assert ask(b"\x27\x02" + key_of(ecu.endpoint, seed)) == "67 02"
    return ask
