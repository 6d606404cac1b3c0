"""The input of a draft: the exchanges of a flash session, and the program files if they were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from otabench.bench.uds.sequence.material import Block

_MIN_BYTES: Final = {0x10: 2, 0x11: 2, 0x22: 3, 0x27: 2, 0x2E: 4, 0x31: 4, 0x34: 3, 0x36: 2, 0x3E: 2}
"""Of a request, by its service (ISO 14229-1)."""


@dataclass(frozen=True)
class Heard:
    """One exchange.

    Attributes:
        time_s: when the request ended, on any clock.
        request: its bytes.
        response: the final response; empty if there is none.
        response_s: from request to final response.
        pending_s: from request to the last 78; 0 without one.
        functional: whether all ECUs were addressed.
    """

    time_s: float
    request: bytes
    response: bytes = b""
    response_s: float = 0.0
    pending_s: float = 0.0
    functional: bool = False

    @property
    def sid(self) -> int:
        return self.request[0]

    @property
    def end_s(self) -> float:
        """When it was over."""
        return self.time_s + self.response_s

    @property
    def is_positive(self) -> bool:
        return self.response[:1] == bytes((self.sid | 0x40,))


def is_whole(heard: Heard) -> bool:
    """Return whether a request has what its service demands, so that it can be a step."""
    return len(heard.request) >= (_MIN_BYTES.get(heard.sid, 1) if heard.request else 1)


@dataclass(frozen=True)
class Source:
    """What is known besides the exchanges.

    Attributes:
        name: of the profile to be written.
        when: when the session took place, for dates in it.
        blocks: those of the program files; empty: they are taken from the transfers.
        erase: address and length of each area that a program file asks to erase.
        start_address: of a driver; None if unknown.
    """

    name: str
    when: datetime
    blocks: Sequence[Block] = ()
    erase: Sequence[tuple[int, int]] = ()
    start_address: int | None = None
