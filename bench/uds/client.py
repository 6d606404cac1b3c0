"""One ECU's UDS client: udsoncan over our connection, with deadlines, repeats and a trace of every exchange.

Decides what an answer means for the caller: the answer's bytes, or an error with a name (``errors``). It repeats where
ISO 14229 says so (NRC 21, NRC 78; silence, where the caller says that the request may be sent again) and waits out NRC 37, all
bounded. Sessions and security: ``request`` sends exactly what it is given; ``routine`` can unlock and change the session where
the ECU asks for it.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from udsoncan.client import Client
from udsoncan.configs import default_client_config
from udsoncan.exceptions import (
    InvalidResponseException,
    NegativeResponseException,
    TimeoutException,
    UnexpectedResponseException,
)
from udsoncan.Request import Request

from otabench.bench.uds import answers
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuLost, EcuRefused, FlashError
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.transport import IsoTpConnection, TransportError
from otabench.bench.uds.transport.errors import BUS_FAULTS
from otabench.bench.uds.wire import Wire, exchange_record
from otabench.proto import security_algorithm
from otabench.proto.security_algorithm import AlgorithmError
from otabench.proto.trace import TraceWriter


class _PendingTooLong(Exception):
    """The ECU answered 78 past our deadline."""


class EcuClient:
    """Requests to one ECU. Used by one thread at a time.

    Attributes:
        job_id: put on every trace event from then on.
    """

    def __init__(
        self, endpoint: EcuEndpoint, profile: Profile, connection: IsoTpConnection, trace: TraceWriter
    ) -> None:
        self.endpoint = endpoint
        self.profile = profile
        self.name = endpoint.name
        self.job_id: str | None = None
        self._trace = trace
        self._wire = Wire(connection)
        self._pending_deadline = 0.0
        config: dict[str, Any] = dict(default_client_config)
        config.update(
            request_timeout=None,  # it would also cap the waiting for the final answer after 78
            use_server_timing=False,  # taken from 50 xx below, with our margin
            exception_on_negative_response=True,
            exception_on_invalid_response=True,
            exception_on_unexpected_response=True,
            nrc78_callback=self._on_response_pending,
        )
        self._client = Client(self._wire, config=config)  # type: ignore[arg-type]
        self._default_timing()

    def __enter__(self) -> EcuClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._wire.close()

    def discard_received(self) -> None:
        """Drop what came before: done before a functional request whose answers are to be collected."""
        self._open(step="open connection")
        self._wire.below.empty_rxqueue()

    def request(
        self,
        payload: bytes,
        *,
        step: str,
        p2_s: float | None = None,
        is_sent_already: bool = False,
        may_repeat: bool = False,
    ) -> bytes:
        """Send a request and return the whole positive answer.

        Args:
            payload: service identifier and parameters.
            step: what it is for, for errors and the trace.
            p2_s: how long to wait for the first answer, instead of the session's P2.
            is_sent_already: only collects the answer to a functional request.
            may_repeat: sent again where no answer came in time: doing it twice does what doing it once does.

        Raises:
            EcuRefused: negative response; ``nrc`` has it.
            EcuLost: no answer in time, or the message was broken on its way.
            EcuContradicts: the answer belongs to another service, or is no UDS.
            BusUnavailable: the interface is down, gone, or off the bus.
        """
        busy_repeats = self.profile.timing.busy_repeats
        repeats = self.profile.timing.request_repeats if may_repeat else 0
        while True:
            try:
                return self._exchange(payload, step, p2_s, is_sent_already)
            except EcuRefused as error:
                if error.nrc != answers.BUSY_REPEAT_REQUEST or busy_repeats == 0:
                    raise
                busy_repeats -= 1
                time.sleep(self.profile.timing.busy_pause_s)
            except EcuLost as error:
                if error.nrc is not None or repeats == 0:  # 78 without an end is not silence
                    raise
                repeats -= 1
            except EcuContradicts:
                if not self._wire.stray or repeats == 0:  # only a late answer to another request came
                    raise
                repeats -= 1
            is_sent_already = False

    def enter_session(self, session: int, *, step: str, is_sent_already: bool = False) -> None:
        """10 xx, and takes over the P2 and P2* that the answer reports.

        Raises:
            FlashError: as ``request``.
        """
        answer = self.request(bytes((0x10, session)), step=step, is_sent_already=is_sent_already)
        if len(answer) < 6:
            return  # ISO 14229-1:2006 had no timing record
        timing = self.profile.timing
        self._client.session_timing.p2_server_max = int.from_bytes(answer[2:4], "big") / 1000 + timing.p2_margin_s
        self._client.session_timing.p2_star_server_max = int.from_bytes(answer[4:6], "big") / 100 + timing.p2_margin_s

    def unlock(self) -> None:
        """27: nothing is sent as a key where the ECU is unlocked already (seed of zeros). Waits out NRC 37, bounded.

        After silence it begins with a new seed: the one before may have served, and then the new one is zeros. First the
        ECU has to answer something else (3E 00): a seed that comes late would be taken for the new one, and its key be wrong.
        A key that is refused while a second seed came was the first one's: the request had arrived twice.

        Raises:
            FlashError: as ``request``.
        """
        repeats = self.profile.timing.request_repeats
        while True:
            try:
                self._unlock()
                return
            except (EcuLost, EcuRefused) as error:
                if repeats == 0 or not self._wants_a_new_seed(error):
                    raise
            repeats -= 1
            self.request(b"\x3e\x00", step="3E 00 tester present", may_repeat=True)

    def _wants_a_new_seed(self, error: EcuLost | EcuRefused) -> bool:
        if isinstance(error, EcuLost):
            return error.nrc is None
        came_twice = self._wire.stray[:2] == bytes((0x67, self.profile.security.request_seed))
        return error.nrc == answers.INVALID_KEY and came_twice

    def _unlock(self) -> None:
        security = self.profile.security
        deadline = time.monotonic() + security.max_delay_s
        step = f"27 {security.request_seed:02X} request seed"
        while True:
            try:
                answer = self.request(bytes((0x27, security.request_seed)), step=step)
                break
            except EcuRefused as error:
                if error.nrc != answers.REQUIRED_TIME_DELAY_NOT_EXPIRED or time.monotonic() + 0.5 > deadline:
                    raise
            time.sleep(0.5)
        seeds = [late for late in self._wire.take_waiting() if late[:2] == answer[:2]]
        seed = (seeds or [answer])[-1][2:]  # the request may have arrived twice, and the last seed counts
        if not any(seed):
            return
        step = f"27 {security.send_key:02X} send key"
        try:
            algorithm = security_algorithm.load(
                self.endpoint.security_algorithm, secret=bytes.fromhex(self.endpoint.security_secret)
            )
            key = algorithm.key_for(seed, level=security.request_seed)
        except AlgorithmError as error:
            raise FlashError(str(error), ecu=self.name, step=step) from error
        self.request(bytes((0x27, security.send_key)) + key, step=step)

    def read(self, identifier: int, *, p2_s: float | None = None) -> bytes:
        """22: one data record. Reading changes nothing in the ECU, so a lost answer is asked for again.

        Args:
            identifier: the data identifier.
            p2_s: as ``request``; given by callers that poll, who ask again by themselves.

        Raises:
            FlashError: as ``request``.
        """
        wanted = identifier.to_bytes(2, "big")
        step = f"22 {identifier:04X} read"
        return self.request(b"\x22" + wanted, step=step, p2_s=p2_s, may_repeat=p2_s is None)[3:]

    def routine(
        self,
        identifier: int,
        name: str,
        option: bytes = b"",
        *,
        find_session: bool = False,
        may_repeat: bool = False,
    ) -> bytes:
        """31 01: starts a routine and returns its status record (at least one byte).

        Args:
            find_session: where the ECU says that it is locked or in the wrong session, unlock or change the session and
                ask again. For use outside the programming sequence, which has its own order.
            may_repeat: as ``request``.

        Raises:
            FlashError: as ``request``; EcuContradicts where the record is missing.
        """
        step = f"31 01 {identifier:04X} {name}"
        request = b"\x31\x01" + identifier.to_bytes(2, "big") + option
        ask = self._with_rights if find_session else self.request
        answer = ask(request, step=step, may_repeat=may_repeat)
        if len(answer) < 5:
            raise self.contradicts(step, f"answered {answer.hex(' ').upper()}")
        return answer[4:]

    def refused(self, step: str, text: str, *, nrc: int | None = None, remedy: str = "") -> EcuRefused:
        """Return the error for a refusal: a status of a routine, or a negative response that needs more words."""
        return EcuRefused(text, ecu=self.name, step=step, nrc=nrc, remedy=remedy)

    def contradicts(self, step: str, text: str) -> EcuContradicts:
        """Return the error for an answer that does not fit."""
        return EcuContradicts(text, ecu=self.name, step=step, remedy="the ECU's software or its flash profile is wrong")

    def emit(self, event: str, **data: Any) -> None:
        """A trace event of this ECU and job."""
        self._trace.emit(event, job_id=self.job_id, ecu=self.name, **data)

    def _with_rights(self, payload: bytes, *, step: str, may_repeat: bool) -> bytes:
        untried = [self._enter_extended, self._enter_programming]
        may_unlock = True
        while True:
            try:
                return self.request(payload, step=step, may_repeat=may_repeat)
            except EcuRefused as error:
                if error.nrc == answers.SECURITY_ACCESS_DENIED and may_unlock:
                    remedy, may_unlock = self.unlock, False
                elif error.nrc in answers.WRONG_SESSION_FOR_ROUTINE and untried:
                    remedy, may_unlock = untried.pop(0), True
                else:
                    raise
            remedy()

    def _enter_extended(self) -> None:
        session = self.profile.sessions.extended
        self.enter_session(session, step=f"10 {session:02X} extended session")

    def _enter_programming(self) -> None:
        session = self.profile.sessions.programming
        self.enter_session(session, step=f"10 {session:02X} programming session")

    def _default_timing(self) -> None:
        timing = self.profile.timing
        self._client.session_timing.p2_server_max = timing.p2_s + timing.p2_margin_s
        self._client.session_timing.p2_star_server_max = timing.p2_star_s + timing.p2_margin_s

    def _open(self, *, step: str) -> None:
        if self._wire.is_open():
            return
        self._default_timing()
        try:
            self._wire.open()
        except TransportError as error:
            raise BusUnavailable(str(error), ecu=self.name, step=step) from error

    def _on_response_pending(self) -> None:
        if time.monotonic() > self._pending_deadline:
            raise _PendingTooLong

    def _exchange(self, payload: bytes, step: str, p2_s: float | None, is_sent_already: bool) -> bytes:
        self._open(step=step)
        timing = self._client.session_timing
        p2_before = timing.p2_server_max
        if p2_s is not None:
            timing.p2_server_max = p2_s
        self._wire.expect(payload, is_sent_already=is_sent_already)
        self._pending_deadline = time.monotonic() + self.profile.timing.max_pending_s
        started = time.monotonic()
        answer = b""
        problem = ""
        try:
            response = self._client.send_request(Request.from_payload(payload))
            answer = bytes(response.original_payload or b"") if response is not None else b""
        except NegativeResponseException as error:
            answer = bytes(error.response.original_payload or b"")
            nrc = int(error.response.code or 0)
            raise EcuRefused(ecu=self.name, step=step, nrc=nrc) from error
        except (UnexpectedResponseException, InvalidResponseException) as error:
            answer = bytes(error.response.original_payload or b"")
            raise self.contradicts(step, f"answered {answer[:8].hex(' ').upper()}") from error
        except TimeoutException as error:
            if self._wire.stray:
                answer = self._wire.stray
                raise self.contradicts(step, f"answered {answer[:8].hex(' ').upper()}") from error
            problem = "no answer"
            raise EcuLost(
                "no answer in time",
                ecu=self.name,
                step=step,
                remedy="is it powered, on this bus, with these identifiers?",
            ) from error
        except _PendingTooLong as error:
            problem = "78 for too long"
            text = f"sent for more than {self.profile.timing.max_pending_s:g} s"
            raise EcuLost(text, ecu=self.name, step=step, nrc=answers.RESPONSE_PENDING) from error
        except TransportError as error:
            problem = type(error).__name__
            raise self._from_transport(step, error) from error
        finally:
            duration_s = time.monotonic() - started
            timing.p2_server_max = p2_before
            self.emit("uds.exchange", **exchange_record(payload, answer, duration_s, step=step, problem=problem))
        return answer

    def _from_transport(self, step: str, error: TransportError) -> FlashError:
        if isinstance(error, BUS_FAULTS):
            self.close()
            return BusUnavailable(str(error), ecu=self.name, step=step)
        return EcuLost(str(error), ecu=self.name, step=step)
