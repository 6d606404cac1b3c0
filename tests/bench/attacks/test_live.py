"""An attack on a running bench shares the bus with the bench's own gateway."""

from __future__ import annotations

from typing import cast

import pytest

from otabench.bench.attacks.live import UdsPort
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import EcuContradicts, EcuRefused

ERASE = bytes.fromhex("31 01 FF 00")


class SharedClient:
    """An ECU's client whose first requests are cut off by those of another tester."""

    def __init__(self, cut_off: int) -> None:
        self.cut_off, self.requests = cut_off, 0

    def request(self, payload: bytes, *, step: str) -> bytes:
        self.requests += 1
        if self.requests <= self.cut_off:
            raise EcuContradicts("answered 62 F4 42 34 BC", ecu="engine", step=step)
        raise EcuRefused(ecu="engine", step=step, nrc=0x31)


@pytest.mark.parametrize(("cut_off", "answer"), [(0, b"\x7f\x31\x31"), (2, b"\x7f\x31\x31"), (9, b"")])
def test_a_request_that_the_gateway_cut_off_is_sent_again(cut_off: int, answer: bytes) -> None:
    client = SharedClient(cut_off)
    assert UdsPort(cast(EcuClient, client)).exchange(ERASE) == answer
    assert client.requests == min(cut_off + 1, 3)
