"""The bench's own tester: UDS to the ECUs beside the gateway, for states, health and the ``ecu`` fixture.

No socket stays open between two requests: an open ISO-TP socket would answer a first frame meant for the gateway with a flow control
of its own. Only a kept session (``keep_programming``) holds the bus open, for its TesterPresent.

The gateway is a second tester with the same identifiers; idle, it reads the ECUs once a minute. An answer to its request can come
where ours is awaited, so ``identity`` and ``enter_default`` ask again before they conclude that an ECU contradicts itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError
from otabench.bench.gateway.flashing import probe
from otabench.bench.uds import identity
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import EcuContradicts, EcuLost
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.proto.trace import TraceWriter

SILENCE_S: Final = 0.3
"""An ECU that has not answered a 3E 00 after that time is off."""
_ACTIVE_SESSION: Final = 0xF186
_ASKED_AGAIN: Final = 2
_PAUSE_S: Final = 0.2

T = TypeVar("T")


class Tester:
    """UDS to all ECUs of a bench. Used by one thread.

    Args:
        endpoints: of the ECUs.
        trace: the run's trace; exchanges are in it as component ``tester``.
        vin: of the vehicle.
    """

    def __init__(self, endpoints: Sequence[EcuEndpoint], *, trace: Path, vin: str) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        groups: dict[tuple[str, str], list[EcuEndpoint]] = {}
        for endpoint in endpoints:
            key = (str(endpoint.bus.get("interface")), str(endpoint.bus.get("channel")))
            groups.setdefault(key, []).append(endpoint)
        self._trace = TraceWriter(trace, component="tester", vin=vin)
        self._links = [BusLink(group, self._trace) for group in groups.values()]
        self._link_of = {name: link for link in self._links for name in link.endpoints}
        self._keeps_sessions = False

    @contextmanager
    def client(self, ecu: str) -> Iterator[EcuClient]:
        """Yield a client of one ECU, and close it afterwards.

        Raises:
            FlashError: the bus cannot be opened; the block's own errors.
        """
        link = self._link_of[ecu]
        client = link.client(ecu)
        try:
            yield client
        finally:
            client.close()
            if not self._keeps_sessions:
                link.close()

    def identity(self, ecu: str) -> EcuIdentity:
        """Return what one ECU reports about itself.

        Raises:
            FlashError: no answer, or one that makes no sense.
        """
        if isinstance(self._link_of[ecu].profile(ecu), SequenceProfile):
            return probe(self.endpoints[ecu], self._trace)
        return self._asked_again(ecu, identity.read_identity)

    def enter_default(self, ecu: str, *, within_s: float = 0.0) -> None:
        """Wait until the ECU answers, puts it into the default session, and make sure that it is there.

        Raises:
            FlashError: it does not answer within that time, or not from the default session.
        """
        with self.client(ecu) as client:
            identity.await_answer(client, deadline=Deadline(within_s))
        self._asked_again(ecu, _enter_default)

    def _asked_again(self, ecu: str, ask: Callable[[EcuClient], T]) -> T:
        for _ in range(_ASKED_AGAIN):
            with self.client(ecu) as client:
                try:
                    return ask(client)
                except EcuContradicts:
                    time.sleep(_PAUSE_S)
        with self.client(ecu) as client:
            return ask(client)

    def keep_programming(self) -> None:
        """All ECUs into the programming session, unlocked, and kept there by TesterPresent until ``release``.

        Raises:
            FlashError: an ECU refuses or does not answer.
        """
        self._keeps_sessions = True
        try:
            for ecu in self.endpoints:
                with self.client(ecu) as client:
                    sessions = client.profile.sessions
                    client.enter_session(sessions.extended, step=f"10 {sessions.extended:02X} extended session")
                    client.enter_session(
                        sessions.programming, step=f"10 {sessions.programming:02X} programming session"
                    )
                    client.unlock()
            for link in self._links:
                link.keep_sessions()
        except BaseException:
            self.release()
            raise

    def require_silence(self, ecu: str) -> None:
        """Make sure that an ECU is off.

        Raises:
            BenchError: it answers.
            FlashError: the bus cannot be used.
        """
        with self.client(ecu) as client:
            try:
                answer = client.request(b"\x3e\x00", step="3E 00 tester present", p2_s=SILENCE_S)
            except EcuLost:
                return
        raise BenchError(
            f"{ecu}: answers {answer.hex(' ').upper()} though its power was switched off; "
            "does the power driver of the bench file switch this ECU?"
        )

    def release(self) -> None:
        """Let sessions end and close the buses."""
        self._keeps_sessions = False
        for link in self._links:
            link.close()

    def close(self) -> None:
        """Release the ECUs and close the trace."""
        self.release()
        self._trace.close()


def _enter_default(client: EcuClient) -> None:
    session = client.profile.sessions.default
    client.enter_session(session, step=f"10 {session:02X} default session")
    active = client.read(_ACTIVE_SESSION)
    if active != bytes((session,)):
        raise client.contradiction(
            f"22 {_ACTIVE_SESSION:04X} read", f"active session {active.hex()}, not {session:02X}"
        )
