"""The UDS client of one ECU: udsoncan over a connection of ``transport``, with deadlines, repeats and a trace of every exchange.

    channel = open_channel(endpoint.bus, endpoint.isotp)
    connection = channel.connection(
        request_id=endpoint.request_id, response_id=endpoint.response_id, isotp=endpoint.isotp
    )
    with EcuClient(endpoint, profile.load("iso14229-ab"), connection, TraceWriter(None, component="example")) as client:
        version = client.read(0xF189)

Rules:

* A request returns the bytes of the positive response, or raises one of ``errors``.
* A request is repeated after NRC 21 (busy), and after silence if the caller allows it (``may_repeat``). Both are bounded by the profile.
* After NRC 78 the client waits for the final response, up to ``max_pending_s`` of the profile.
* ``request`` sends the caller's bytes unchanged. Only ``routine`` with ``find_session`` changes the session or unlocks by itself.

Security access is in ``security``, the filter for late responses in ``wire``.
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

from otabench.bench.deadline import Deadline
from otabench.bench.uds import answers
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuLost, EcuRefused, FlashError
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.security import SecurityAccess
from otabench.bench.uds.transport import IsoTpConnection, TransportError
from otabench.bench.uds.transport.errors import BUS_FAULTS
from otabench.bench.uds.wire import Wire, exchange_record
from otabench.proto.trace import TraceWriter


class _PendingTooLong(Exception):
    """The ECU was still answering 78 after the profile's ``max_pending_s``."""


class EcuClient:
    """Requests to one ECU. Used by one thread at a time.

    Attributes:
        job_id: added to every trace event from then on.
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
        self._pending = Deadline(0.0)
        config: dict[str, Any] = dict(default_client_config)
        config.update(
            # udsoncan's own request timeout (5 s) would also limit the wait for the final response after 78.
            request_timeout=None,
            # ``enter_session`` takes over the ECU's P2 and P2*, and adds the profile's margin; udsoncan would not add one.
            use_server_timing=False,
            # Without these three udsoncan returns a response object for a refusal, which a caller could overlook.
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
        """Close the connection. The next request opens it again."""
        self._wire.close()

    def discard_received(self) -> None:
        """Drop all messages received so far.

        Call this before a functional request whose responses are collected afterwards. Otherwise an old message could be taken for one
        of them.
        """
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
        """Send a request and return the whole positive response.

        Args:
            payload: service identifier and parameters.
            step: the purpose of the request, for errors and the trace.
            p2_s: how long to wait for the first response, instead of the session's P2.
            is_sent_already: do not send; only collect the response to a functional request.
            may_repeat: send again if no response came in time. Set it only for a request that may be carried out twice without harm:
                after silence the tester cannot distinguish a lost request from a lost response.

        Raises:
            EcuRefused: negative response; ``nrc`` holds its code.
            EcuLost: no response in time, or the message was damaged on its way.
            EcuContradicts: the response belongs to another request, or is not UDS.
            BusUnavailable: the interface is down, gone, or off the bus.
        """
        busy_repeats = self.profile.timing.busy_repeats
        repeats = self.profile.timing.request_repeats if may_repeat else 0
        while True:
            try:
                return self._exchange(payload, step, p2_s, is_sent_already)
            except EcuRefused as error:
                # An ECU that answers busyRepeatRequest has not begun the request (ISO 14229-1), so any request may be repeated after it.
                if error.nrc != answers.BUSY_REPEAT_REQUEST or busy_repeats == 0:
                    raise
                busy_repeats -= 1
                time.sleep(self.profile.timing.busy_pause_s)
            except EcuLost as error:
                # An ECU that answers 78 without an end is not silent: it is working on the request, so do not send it again.
                if error.nrc is not None or repeats == 0:
                    raise
                repeats -= 1
            except EcuContradicts:
                # If only a late response to another request came, this request was met with silence.
                if not self._wire.skipped_response or repeats == 0:
                    raise
                repeats -= 1
            is_sent_already = False

    def enter_session(self, session: int, *, step: str, is_sent_already: bool = False) -> None:
        """Change the session (10), and use the P2 and P2* of the response from then on.

        ``is_sent_already``: as ``request``.

        Raises:
            FlashError: as ``request``.
        """
        answer = self.request(bytes((0x10, session)), step=step, is_sent_already=is_sent_already)
        if len(answer) < 6:
            # The timing record is missing in ISO 14229-1:2006: keep the profile's times.
            return
        timing = self.profile.timing
        # sessionParameterRecord (ISO 14229-1): P2 in units of 1 ms, P2* in units of 10 ms.
        self._client.session_timing.p2_server_max = int.from_bytes(answer[2:4], "big") / 1000 + timing.p2_margin_s
        self._client.session_timing.p2_star_server_max = int.from_bytes(answer[4:6], "big") / 100 + timing.p2_margin_s

    def unlock(self) -> None:
        """Unlock the ECU (27), unless it is unlocked already.

        After wrong keys an ECU answers NRC 37 for some time; wait for that up to ``max_delay_s`` of the profile. If a response is lost,
        start again with a new seed: the lost response may have been the one that unlocked the ECU.

        Raises:
            FlashError: as ``request``; the security algorithm cannot be loaded or fails.
        """
        SecurityAccess(self.endpoint, self.profile, request=self.request, wire=self._wire).unlock()

    def read(self, identifier: int, *, p2_s: float | None = None) -> bytes:
        """Read a data record (22). Reading changes nothing in the ECU, so it is repeated if the response is lost.

        Args:
            identifier: the data identifier.
            p2_s: as ``request``. The request is then not repeated, because callers that poll send it again themselves.

        Raises:
            FlashError: as ``request``.
        """
        record_id = identifier.to_bytes(2, "big")
        step = f"22 {identifier:04X} read"
        return self.request(b"\x22" + record_id, step=step, p2_s=p2_s, may_repeat=p2_s is None)[3:]

    def routine(
        self,
        identifier: int,
        name: str,
        option: bytes = b"",
        *,
        find_session: bool = False,
        may_repeat: bool = False,
    ) -> bytes:
        """Start a routine (31 01) and return its status record, at least one byte.

        Args:
            find_session: if the ECU refuses because it is locked or in the wrong session, unlock or change the session and
                send the request again. Not for the programming sequence: there the profile orders sessions and unlocking.
            may_repeat: as ``request``.

        Raises:
            FlashError: as ``request``; EcuContradicts if the record is missing.
        """
        step = f"31 01 {identifier:04X} {name}"
        request = b"\x31\x01" + identifier.to_bytes(2, "big") + option
        send = self._request_with_access if find_session else self.request
        answer = send(request, step=step, may_repeat=may_repeat)
        # 71 01, two bytes of identifier, then the status record.
        if len(answer) < 5:
            raise self.contradiction(step, f"answered {answer.hex(' ').upper()}")
        return answer[4:]

    def refusal(self, step: str, text: str, *, nrc: int | None = None, remedy: str = "") -> EcuRefused:
        """Return the error for a refusal: a routine's status, or a negative response that the caller explains in ``text``."""
        return EcuRefused(text, ecu=self.name, step=step, nrc=nrc, remedy=remedy)

    def contradiction(self, step: str, text: str) -> EcuContradicts:
        """Return the error for a response that does not fit the request."""
        return EcuContradicts(text, ecu=self.name, step=step, remedy="the ECU's software or its flash profile is wrong")

    def emit(self, event: str, **data: Any) -> None:
        """Write a trace event of this ECU and job."""
        self._trace.emit(event, job_id=self.job_id, ecu=self.name, **data)

    def _request_with_access(self, payload: bytes, *, step: str, may_repeat: bool) -> bytes:
        """Send a request. After a refusal, unlock or change the session accordingly and try again; try each session once."""
        # Try the extended session first. The programming session has conditions: 10 02 is refused while the vehicle moves.
        untried = [self._enter_extended, self._enter_programming]
        may_unlock = True
        while True:
            try:
                return self.request(payload, step=step, may_repeat=may_repeat)
            except EcuRefused as error:
                if error.nrc == answers.SECURITY_ACCESS_DENIED and may_unlock:
                    act, may_unlock = self.unlock, False
                elif error.nrc in answers.WRONG_SESSION_FOR_ROUTINE and untried:
                    act, may_unlock = untried.pop(0), True  # a change of session locks the ECU again
                else:
                    raise
            act()

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
        # The connection was closed for a while: the ECU may have left the session whose P2 was used.
        self._default_timing()
        try:
            self._wire.open()
        except TransportError as error:
            raise BusUnavailable(str(error), ecu=self.name, step=step) from error

    def _on_response_pending(self) -> None:
        if self._pending.has_passed():
            raise _PendingTooLong

    def _exchange(self, payload: bytes, step: str, p2_s: float | None, is_sent_already: bool) -> bytes:
        self._open(step=step)
        timing = self._client.session_timing
        p2_before = timing.p2_server_max
        if p2_s is not None:
            # Set P2 for this exchange only. udsoncan's ``timeout`` argument would also limit the wait after 78.
            timing.p2_server_max = p2_s
        self._wire.expect(payload, is_sent_already=is_sent_already)
        # udsoncan waits P2* after each 78 anew, without an overall limit. ``_on_response_pending`` ends that at this deadline.
        self._pending = Deadline(self.profile.timing.max_pending_s)
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
            raise self.contradiction(step, f"answered {answer[:8].hex(' ').upper()}") from error
        except TimeoutException as error:
            if self._wire.skipped_response:
                answer = self._wire.skipped_response
                raise self.contradiction(step, f"answered {answer[:8].hex(' ').upper()}") from error
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
            # Trace failed exchanges, too: they are what a reader of the trace looks for.
            self.emit("uds.exchange", **exchange_record(payload, answer, duration_s, step=step, problem=problem))
        return answer

    def _from_transport(self, step: str, error: TransportError) -> FlashError:
        if isinstance(error, BUS_FAULTS):
            # A socket stays bound to an interface that was removed, even if one of the same name returns. Open a new socket next time.
            self.close()
            return BusUnavailable(str(error), ecu=self.name, step=step)
        return EcuLost(str(error), ecu=self.name, step=step)
