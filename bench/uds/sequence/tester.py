"""What a runner needs of a tester: the one seam between a sequence and the bus.

Two implement it: the UDS client of a bus, and ``dry_run``, which writes down what would be sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Exchange:
    """One request and how it is sent.

    Attributes:
        payload: the request.
        step: its name, for errors and the trace.
        functional: to all ECUs of the bus; the answer is this ECU's.
        expects_answer: False: the ECU suppresses its positive answer. It may still refuse; nobody waits for that.
        p2_s, p2_star_s, limit_s: for this request; None: those in force.
        request_id, response_id: identifiers to use instead of the ECU's own; None: its own.
    """

    payload: bytes
    step: str
    functional: bool = False
    expects_answer: bool = True
    p2_s: float | None = None
    p2_star_s: float | None = None
    limit_s: float | None = None
    request_id: int | None = None
    response_id: int | None = None
    example: Callable[[], bytes] | None = None
    """Return a positive response that the step accepts, for a tester without an ECU; None: any positive one will do."""


class Tester(Protocol):
    """One ECU, as a sequence sees it."""

    @property
    def name(self) -> str:
        """Name of the ECU."""
        ...

    def now_s(self) -> float:
        """Return the time on a clock that only goes forward. ``pause`` moves it."""
        ...

    def exchange(self, request: Exchange) -> bytes:
        """Send a request and return the positive response; empty where none is expected.

        Raises:
            EcuRefused: a negative response, with its NRC.
            EcuLost: silence.
            EcuContradicts: an answer to something else.
            BusUnavailable: the bus is away.
        """
        ...

    def burst(self, request: Exchange, *, every_s: float, for_s: float) -> None:
        """Send a request again and again, without waiting for answers.

        Raises:
            BusUnavailable: the bus is away.
            FlashCanceled: the job was canceled meanwhile.
        """
        ...

    def use_times(self, p2_s: float, p2_star_s: float) -> None:
        """Use these response times from now on: the ECU reported them in the answer to 10."""
        ...

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        """Return the key for a seed. ``choice``: by which of several secrets; empty: there is one.

        Raises:
            FlashError: there is no such choice, or the algorithm cannot be used, or failed.
        """
        ...

    def certificate(self) -> bytes:
        """Return the tester's certificate as it is sent (29 01).

        Raises:
            FlashError: there is none, or it cannot be used.
        """
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature over data by the key of the certificate.

        Raises:
            FlashError: as ``certificate``.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            FlashCanceled: the job was canceled meanwhile.
        """
        ...

    def forget_session(self) -> None:
        """Close the connection, and use the profile's times again: the ECU was reset."""
        ...

    def emit(self, event: str, **data: Any) -> None:
        """Write a trace event of this ECU and job."""
        ...
