"""One ECU of a bus as a sequence sees it: ``sequence.tester.Tester`` over a connection of ``transport``.

Rules:

* Of the messages that arrive, only those that answer the request count. An ECU that answers 78 is waited for, up to the limit of the
  request.
* A functional request goes to all ECUs only if its sender may address all of them. Otherwise it goes to this ECU alone, which is the
  same for it.
* Nothing here repeats a request, apart from one that the ECU was too busy to begin (NRC 21). What is repeated is the profile's decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, Final

from udsoncan.exceptions import TimeoutException

from otabench.bench.deadline import Deadline
from otabench.bench.uds import answers
from otabench.bench.uds.ecu_secrets import EcuSecrets
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuLost, EcuRefused, FlashCanceled, FlashError
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.tester import Exchange
from otabench.bench.uds.services import is_suppressed, without_suppress
from otabench.bench.uds.transport import IsoTpConnection, TransportError
from otabench.bench.uds.transport.errors import BUS_FAULTS
from otabench.bench.uds.wire import Wire, exchange_record
from otabench.proto.trace import TraceWriter

_BUSY_REPEATS: Final = 10
_BUSY_PAUSE_S: Final = 0.1
_NEGATIVE_BYTES: Final = 3
_CANCEL_POLL_S: Final = 0.1
_MAX_FUNCTIONAL_BYTES: Final = 6
"""A functional request is one single frame; one byte less where the frame begins with an address."""

FunctionalSender = Callable[[bytes, str], None]
"""Sends a request, with the name of its step, to all ECUs."""
Connect = Callable[[int, int | None], IsoTpConnection]
"""Returns a connection by other identifiers than the ECU's: of the request, and of the response (None: the ECU's own)."""


class SequenceClient:
    """Requests to one ECU, as its sequence profile makes them. Used by one thread at a time.

    Args:
        endpoint: the ECU.
        profile: its flash profile.
        connection: to the ECU.
        trace: receives every exchange.
        send_functional: sends a request to all ECUs of the same functional address.
        connect: makes the connection of a request with other identifiers.

    Attributes:
        name: the ECU's name.
        job_id: added to every trace event from then on.
        cancel: ends a wait when it is set.
        may_address_all: whether functional requests go to all ECUs: only if no other ECU hears them.
    """

    def __init__(
        self,
        endpoint: EcuEndpoint,
        profile: SequenceProfile,
        connection: IsoTpConnection,
        trace: TraceWriter,
        *,
        send_functional: FunctionalSender,
        connect: Connect,
    ) -> None:
        self.endpoint = endpoint
        self.profile = profile
        self.name = endpoint.name
        self.job_id: str | None = None
        self.cancel: Event | None = None
        self.may_address_all = False
        self._trace = trace
        self._wire = Wire(connection)
        self._send_functional = send_functional
        self._connect = connect
        self._secrets = EcuSecrets(endpoint)
        self._sent_to_all = b""
        self._p2_s = self._p2_star_s = 0.0
        self._use_own_times()

    # -- the protocol of ``sequence.tester``

    def now_s(self) -> float:
        """See ``Tester``."""
        return time.monotonic()

    def exchange(self, request: Exchange) -> bytes:
        """See ``Tester``."""
        busy_repeats = _BUSY_REPEATS
        while True:
            try:
                with self._reaching(request):
                    return self._exchange(request)
            except EcuRefused as error:
                # An ECU that answers busyRepeatRequest has not begun the request (ISO 14229-1), so any request may be repeated after it.
                if error.nrc != answers.BUSY_REPEAT_REQUEST or busy_repeats == 0:
                    raise
            busy_repeats -= 1
            self.pause(_BUSY_PAUSE_S)

    def burst(self, request: Exchange, *, every_s: float, for_s: float) -> None:
        """See ``Tester``."""
        start_s = time.monotonic()
        sent = 0
        while sent == 0 or sent * every_s <= for_s:
            self._send(request)
            sent += 1
            # From the start, so that slow sending does not lengthen the burst.
            wait_s = start_s + sent * every_s - time.monotonic()
            if self.cancel is not None and self.cancel.is_set():
                raise FlashCanceled(f"{self.name}: canceled during {request.step}")
            if wait_s > 0:
                time.sleep(wait_s)
        self.emit("uds.burst", step=request.step, request=request.payload.hex(), times=sent)

    def use_times(self, p2_s: float, p2_star_s: float) -> None:
        """See ``Tester``."""
        self._p2_s, self._p2_star_s = p2_s, p2_star_s

    def key_for(self, seed: bytes, *, level: int, choice: str = "") -> bytes:
        """See ``Tester``."""
        return self._secrets.key_for(seed, level=level, choice=choice)

    def certificate(self) -> bytes:
        """See ``Tester``."""
        return self._secrets.credentials(step="29 01 verify certificate").certificate

    def sign(self, data: bytes) -> bytes:
        """See ``Tester``."""
        return self._secrets.credentials(step="29 03 proof of ownership").sign(data)

    def pause(self, seconds: float) -> None:
        """See ``Tester``. Keeps the session meanwhile, if it is this ECU's own TesterPresent that does so."""
        deadline = Deadline(seconds)
        keep_alive = self.profile.keep_alive
        next_s = time.monotonic() + keep_alive.every_s if keep_alive is not None else float("inf")
        while True:
            if self.cancel is not None and self.cancel.is_set():
                raise FlashCanceled(f"{self.name}: canceled while waiting")
            left_s = deadline.remaining_s()
            if left_s <= 0:
                return
            time.sleep(min(left_s, _CANCEL_POLL_S, max(0.0, next_s - time.monotonic())))
            if keep_alive is not None and time.monotonic() >= next_s:
                self._keep_session()
                next_s += keep_alive.every_s

    def forget_session(self) -> None:
        """See ``Tester``."""
        self.close()

    def emit(self, event: str, **data: Any) -> None:
        """Write a trace event of this ECU and job."""
        self._trace.emit(event, job_id=self.job_id, ecu=self.name, **data)

    # -- what the gateway needs besides

    def close(self) -> None:
        """Close the connection. The next request opens it again, with the profile's times."""
        self._wire.close()

    def discard_received(self) -> None:
        """Drop all messages received so far, before a functional request whose responses are collected afterwards.

        Raises:
            BusUnavailable: the bus is away.
        """
        self._open("open connection")
        self._wire.below.empty_rxqueue()

    @contextmanager
    def answering(self, request: bytes) -> Iterator[None]:
        """Take a functional request as sent within the block: only its response is collected. Empty: none was sent."""
        self._sent_to_all = without_suppress(request) if request else b""
        try:
            yield
        finally:
            self._sent_to_all = b""

    def ask(self, payload: bytes, *, step: str, p2_s: float | None = None) -> bytes:
        """Send a request that belongs to no sequence, and return the positive response.

        Raises:
            FlashError: see ``Tester.exchange``.
        """
        return self.exchange(Exchange(payload, step, p2_s=p2_s))

    def read(self, identifier: int, *, p2_s: float | None = None) -> bytes:
        """Read a data record (22), and return it without 62 and the identifier. Repeat the request once after silence.

        Raises:
            FlashError: see ``Tester.exchange``.
        """
        request = b"\x22" + identifier.to_bytes(2, "big")
        step = f"22 {identifier:04X} read"
        try:
            return self.ask(request, step=step, p2_s=p2_s)[3:]
        except EcuLost:
            # Callers that give a time poll, and send it again themselves.
            if p2_s is not None:
                raise
        return self.ask(request, step=step)[3:]

    def contradiction(self, step: str, text: str) -> EcuContradicts:
        """Return the error for a response that does not fit the request."""
        return EcuContradicts(text, ecu=self.name, step=step, remedy="the ECU's software or its flash profile is wrong")

    # -- one exchange

    @contextmanager
    def _reaching(self, request: Exchange) -> Iterator[None]:
        """Use a connection of its own within the block for a request with other identifiers than the ECU's."""
        if request.request_id is None:
            yield
            return
        own, times = self._wire, (self._p2_s, self._p2_star_s)
        # Two connections that receive the same identifier would both send flow control.
        was_open = own.is_open()
        own.close()
        try:
            self._wire = Wire(self._connect(request.request_id, request.response_id))
            yield
        except TransportError as error:
            raise self._from_transport(request.step, error) from error
        finally:
            self._wire.close()
            self._wire = own
            if was_open:
                # The ECU has not left its session: the times that it reported in there are still valid.
                self._open(request.step)
                self.use_times(*times)

    def _exchange(self, request: Exchange) -> bytes:
        """Send a request, and return the positive response."""
        self._open(request.step)
        is_sent_already = bool(self._sent_to_all) and without_suppress(request.payload) == self._sent_to_all
        self._wire.expect(request.payload, is_sent_already=is_sent_already)
        started = time.monotonic()
        answer, problem = b"", ""
        try:
            if not is_sent_already:
                self._wire.empty_rxqueue()
                self._send(request)
            if request.expects_answer:
                answer = self._final_answer(request)
        except TransportError as error:
            problem = type(error).__name__
            raise self._from_transport(request.step, error) from error
        except FlashError as error:
            problem = "78 for too long" if error.nrc == answers.RESPONSE_PENDING else "no answer"
            raise
        finally:
            duration_s = time.monotonic() - started
            record = exchange_record(request.payload, answer, duration_s, step=request.step, problem=problem)
            if request.request_id is not None:
                record["request_id"] = request.request_id
            self.emit("uds.exchange", **record)
        if answer[:1] == b"\x7f":
            raise EcuRefused(ecu=self.name, step=request.step, nrc=answer[2])
        return answer

    def _send(self, request: Exchange) -> None:
        self._open(request.step)
        if request.functional and self.may_address_all and len(request.payload) <= _MAX_FUNCTIONAL_BYTES:
            self._send_functional(request.payload, request.step)
            return
        try:
            self._wire.below.specific_send(request.payload)
        except TransportError as error:
            raise self._from_transport(request.step, error) from error

    def _final_answer(self, request: Exchange) -> bytes:
        """Return the first response that is not 78."""
        limit_s = self.profile.times.max_pending_s if request.limit_s is None else request.limit_s
        until = Deadline(limit_s)
        wait_s = self._p2_s if request.p2_s is None else request.p2_s
        while True:
            answer = self._next_answer(request, wait_s)
            if answer[:1] == b"\x7f" and len(answer) < _NEGATIVE_BYTES:
                raise self.contradiction(request.step, f"answered {answer.hex(' ').upper()}")
            if answer[:1] != b"\x7f" or answer[2] != answers.RESPONSE_PENDING:
                return answer
            if until.has_passed():
                text = f"sent for more than {limit_s:g} s"
                raise EcuLost(text, ecu=self.name, step=request.step, nrc=answers.RESPONSE_PENDING)
            wait_s = self._p2_star_s if request.p2_star_s is None else request.p2_star_s

    def _next_answer(self, request: Exchange, wait_s: float) -> bytes:
        try:
            return self._wire.specific_wait_frame(timeout=wait_s) or b""
        except TimeoutException as error:
            if skipped := self._wire.skipped_response:
                raise self.contradiction(request.step, f"answered {skipped[:8].hex(' ').upper()}") from error
            remedy = "is it powered, on this bus, with these identifiers?"
            raise EcuLost("no answer in time", ecu=self.name, step=request.step, remedy=remedy) from error

    def _keep_session(self) -> None:
        """Send TesterPresent to this ECU alone. Its response, and the silence of an ECU that boots, mean nothing here."""
        keep_alive = self.profile.keep_alive
        if keep_alive is None or (keep_alive.functional and self.may_address_all):
            return
        payload = keep_alive.request.constant or b""
        step = f"{payload[:2].hex(' ').upper()} tester present"
        try:
            self._exchange(Exchange(payload, step, expects_answer=not is_suppressed(payload)))
        except FlashError as error:
            self.emit("flash.keep_alive_unanswered", reason=str(error))

    def _use_own_times(self) -> None:
        times = self.profile.times
        self._p2_s, self._p2_star_s = times.p2_s + times.margin_s, times.p2_star_s + times.margin_s

    def _open(self, step: str) -> None:
        if self._wire.is_open():
            return
        # The connection was closed for a while: the ECU may have left the session whose times were used.
        self._use_own_times()
        try:
            self._wire.open()
        except TransportError as error:
            raise BusUnavailable(str(error), ecu=self.name, step=step) from error

    def _from_transport(self, step: str, error: TransportError) -> FlashError:
        if isinstance(error, BUS_FAULTS):
            # A socket stays bound to an interface that was removed, even if one of the same name returns. Open a new socket next time.
            self.close()
            return BusUnavailable(str(error), ecu=self.name, step=step)
        return EcuLost(str(error), ecu=self.name, step=step)
