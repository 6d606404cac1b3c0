"""One bus and the clients of its ECUs: opened when first needed, opened anew after the interface went away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.gateway.config import EcuEndpoint
from bench.gateway.flashing import profile as profiles
from bench.gateway.flashing.ecu_client import EcuClient
from bench.gateway.flashing.errors import BusUnavailable
from bench.gateway.flashing.tester_present import TesterPresent, send_functional
from bench.gateway.transport import Channel, TransportError, open_channel
from proto.process_config import IsoTpConfig
from proto.trace import TraceWriter

ChannelOpener = Callable[[Mapping[str, Any], IsoTpConfig], Channel]
"""``open_channel``, or what stands in its place."""


class BusLink:
    """The ECUs on one bus. Used by one thread at a time (TesterPresent has its own and shares only the channel)."""

    def __init__(
        self, endpoints: Sequence[EcuEndpoint], trace: TraceWriter, *, opener: ChannelOpener = open_channel
    ) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._first = endpoints[0]
        self._trace = trace
        self._opener = opener
        self._channel: Channel | None = None
        self._clients: dict[str, EcuClient] = {}
        self._tester_present: TesterPresent | None = None
        self._job_id: str | None = None

    def set_job(self, job_id: str | None) -> None:
        """Puts the job id on all trace events from now on."""
        self._job_id = job_id
        for client in self._clients.values():
            client.job_id = job_id

    def client(self, ecu: str) -> EcuClient:
        """The client of one ECU of this bus.

        Raises:
            BusUnavailable: the bus cannot be opened.
            ProfileInvalid: the ECU's flash profile is missing or wrong.
        """
        if ecu not in self._clients:
            endpoint = self.endpoints[ecu]
            connection = self._open().connection(
                request_id=endpoint.request_id, response_id=endpoint.response_id, isotp=endpoint.isotp
            )
            client = EcuClient(endpoint, profiles.load(endpoint.profile), connection, self._trace)
            client.job_id = self._job_id
            self._clients[ecu] = client
        return self._clients[ecu]

    def send_functional(self, request: bytes, *, step: str, is_best_effort: bool = False) -> None:
        """Sends a functional request to all ECUs of this bus.

        Raises:
            BusUnavailable: it could not be sent.
        """
        send_functional(
            self._open(),
            request,
            can_id=self._first.functional_id,
            isotp=self._first.isotp,
            trace=self._trace,
            job_id=self._job_id,
            step=step,
            is_best_effort=is_best_effort,
        )

    def keep_sessions(self) -> None:
        """Starts TesterPresent, if it does not run already.

        Raises:
            BusUnavailable: the bus cannot be opened.
        """
        if self._tester_present is not None:
            return
        period_s = profiles.load(self._first.profile).timing.tester_present_s
        self._tester_present = TesterPresent(
            self._open(),
            can_id=self._first.functional_id,
            isotp=self._first.isotp,
            period_s=period_s,
            trace=self._trace,
            job_id=self._job_id or "",
        )
        self._tester_present.start()

    def let_sessions_end(self) -> None:
        """Stops TesterPresent; the ECUs fall back to the default session by themselves (S3)."""
        if self._tester_present is not None:
            self._tester_present.stop()
            self._tester_present = None

    def close(self) -> None:
        """Closes all; what is used next opens it again."""
        self.let_sessions_end()
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> Channel:
        if self._channel is None:
            try:
                self._channel = self._opener(self._first.bus, self._first.isotp)
            except TransportError as error:
                raise BusUnavailable(str(error), ecu="", step="open bus") from error
        return self._channel
