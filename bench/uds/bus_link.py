"""One bus and the clients of its ECUs.

The bus is opened at its first use. After the interface was lost, the next use opens it again. Requests to one ECU are in ``client``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from otabench.bench.backoff import Backoff
from otabench.bench.deadline import Deadline
from otabench.bench.uds import flash_profiles
from otabench.bench.uds import profile as profiles
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, ProfileInvalid
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.profile import Profile
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence_client import SequenceClient
from otabench.bench.uds.tester_present import TesterPresent, send_functional
from otabench.bench.uds.transport import Channel, IsoTpConnection, TransportError, open_channel
from otabench.proto.isotp_address import functional_address
from otabench.proto.process_config import IsoTpConfig
from otabench.proto.trace import TraceWriter

ChannelOpener = Callable[[Mapping[str, Any], IsoTpConfig], Channel]
"""``open_channel``, or its replacement in a test."""

_BUS_TIMEOUT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
_TESTER_PRESENT: Final = b"\x3e\x80"


class BusLink:
    """The ECUs on one bus.

    Only one thread at a time may use it. TesterPresent runs in its own thread and shares only the channel, whose ``send_functional`` is
    safe to call from any thread.
    """

    def __init__(
        self, endpoints: Sequence[EcuEndpoint], trace: TraceWriter, *, opener: ChannelOpener = open_channel
    ) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._first = endpoints[0]
        self._trace = trace
        self._opener = opener
        self._channel: Channel | None = None
        self._clients: dict[str, EcuClient] = {}
        self._sequence_clients: dict[str, SequenceClient] = {}
        self._groups = _groups_by_functional_address(endpoints)
        self._tester_present: list[TesterPresent] = []
        self._job_id: str | None = None

    def set_job(self, job_id: str | None) -> None:
        """Put the job id on all trace events from now on."""
        self._job_id = job_id
        for client in self._all_clients():
            client.job_id = job_id

    def profile(self, ecu: str) -> AnyProfile:
        """Return the flash profile of an ECU.

        Raises:
            ProfileInvalid: it is missing or wrong.
        """
        return flash_profiles.load(self.endpoints[ecu].profile)

    def client(self, ecu: str) -> EcuClient:
        """Return the client of one ECU of this bus, whose profile has named steps.

        Raises:
            BusUnavailable: the bus cannot be opened.
            ProfileInvalid: the ECU's flash profile is missing or wrong.
        """
        if ecu not in self._clients:
            endpoint = self.endpoints[ecu]
            if isinstance(self.profile(ecu), SequenceProfile):
                text = "has sequences, and this needs named steps"
                raise ProfileInvalid(text, ecu=ecu, step=f"flash profile {endpoint.profile}")
            client = EcuClient(endpoint, profiles.load(endpoint.profile), self._connection(endpoint), self._trace)
            client.job_id = self._job_id
            self._clients[ecu] = client
        return self._clients[ecu]

    def sequence_client(self, ecu: str) -> SequenceClient:
        """Return the client of one ECU of this bus, whose profile is a sequence profile.

        Raises:
            BusUnavailable: the bus cannot be opened.
            ProfileInvalid: the ECU's flash profile is missing, wrong, or of the other kind.
        """
        if ecu not in self._sequence_clients:
            endpoint, profile = self.endpoints[ecu], self.profile(ecu)
            if not isinstance(profile, SequenceProfile):
                raise ProfileInvalid("has no sequences", ecu=ecu, step=f"flash profile {endpoint.profile}")

            def send_to_all(request: bytes, step: str) -> None:
                self.send_functional(request, step=f"{step} (functional)", to=ecu)

            def connect(request_id: int, response_id: int | None) -> IsoTpConnection:
                given = {"request_id": request_id, "response_id": response_id or endpoint.response_id}
                # Whose identifiers these are is not known, and so neither are its address bytes.
                plain = {"addressing": "normal", "target_address": None, "source_address": None}
                return self._open().connection(**given, isotp=endpoint.isotp.model_copy(update=plain))

            client = SequenceClient(
                endpoint,
                profile,
                self._connection(endpoint),
                self._trace,
                send_functional=send_to_all,
                connect=connect,
            )
            client.job_id = self._job_id
            client.may_address_all = any(len(group) == 1 and group[0].name == ecu for group in self._groups)
            self._sequence_clients[ecu] = client
        return self._sequence_clients[ecu]

    def functional_groups(self) -> list[dict[str, AnyProfile]]:
        """Return, for each functional address of the bus, the flash profiles of the ECUs that listen to it.

        Raises:
            ProfileInvalid: a flash profile is missing or wrong.
        """
        return [{each.name: self.profile(each.name) for each in group} for group in self._groups]

    def send_functional(self, request: bytes, *, step: str, to: str, is_best_effort: bool = False) -> None:
        """Send a functional request to the functional address of the ECU ``to``.

        Raises:
            BusUnavailable: the request could not be sent. With ``is_best_effort`` this is only traced.
        """
        target = self.endpoints[to]
        send_functional(
            self._open(),
            request,
            can_id=target.functional_id,
            isotp=target.isotp,
            trace=self._trace,
            job_id=self._job_id,
            step=step,
            is_best_effort=is_best_effort,
        )

    def keep_sessions(self) -> None:
        """Start TesterPresent, unless it runs already. If the bus is away, wait for it up to 5 seconds.

        Raises:
            BusUnavailable: the bus cannot be opened.
        """
        if self._tester_present:
            return
        self._await_bus()
        for group, by_ecu in zip(self._groups, self.functional_groups(), strict=True):
            period_s = keep_alive_period_s(by_ecu.values())
            if period_s is None:
                continue
            sender = TesterPresent(
                self._open(),
                can_id=group[0].functional_id,
                isotp=group[0].isotp,
                period_s=period_s,
                trace=self._trace,
                job_id=self._job_id or "",
            )
            self._tester_present.append(sender)
        for sender in self._tester_present:
            sender.start()

    def let_sessions_end(self) -> None:
        """Stop TesterPresent. The ECUs then return to the default session by themselves (S3)."""
        for sender in self._tester_present:
            sender.stop()
        self._tester_present = []

    def close(self) -> None:
        """Close bus and clients. The next use opens them again."""
        self.let_sessions_end()
        for client in self._all_clients():
            client.close()
        # A new channel needs new connections, so the clients are made again, too.
        self._clients.clear()
        self._sequence_clients.clear()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _all_clients(self) -> list[EcuClient | SequenceClient]:
        return [*self._clients.values(), *self._sequence_clients.values()]

    def _connection(self, endpoint: EcuEndpoint) -> IsoTpConnection:
        try:
            return self._open().connection(
                request_id=endpoint.request_id, response_id=endpoint.response_id, isotp=endpoint.isotp
            )
        except TransportError as error:
            raise BusUnavailable(str(error), ecu=endpoint.name, step="open connection") from error

    def _await_bus(self) -> None:
        """Open the bus. Retry with growing pauses, because an adapter may be about to be plugged in again."""
        deadline = Deadline(_BUS_TIMEOUT_S)
        pauses = Backoff(first_s=_FIRST_PAUSE_S, max_s=_BUS_TIMEOUT_S / 2)
        while True:
            try:
                self._open()
                return
            except BusUnavailable:
                pause_s = pauses.next_s()
                if pause_s > deadline.remaining_s():
                    raise
            deadline.pause(pause_s)

    def _open(self) -> Channel:
        if self._channel is None:
            try:
                # All ECUs of a link have the same bus settings (``config.bus_key``), so those of the first one apply.
                self._channel = self._opener(self._first.bus, self._first.isotp)
            except TransportError as error:
                raise BusUnavailable(str(error), ecu="", step="open bus") from error
        return self._channel


def keep_alive_period_s(profiles: Iterable[AnyProfile]) -> float | None:
    """Return the period of a functional TesterPresent for ECUs of these profiles.

    The ECU with the shortest S3 sets it. None: at least one ECU does not take this request functionally, so that nobody receives it.
    """
    periods = []
    for profile in profiles:
        if isinstance(profile, Profile):
            periods.append(profile.timing.tester_present_s)
            continue
        keep_alive = profile.keep_alive
        if keep_alive is None or not keep_alive.functional or keep_alive.request.constant != _TESTER_PRESENT:
            return None
        periods.append(keep_alive.every_s)
    return min(periods)


def _groups_by_functional_address(endpoints: Sequence[EcuEndpoint]) -> list[list[EcuEndpoint]]:
    """Return the ECUs of each functional address. A functional request must be sent once to each address."""
    groups: dict[object, list[EcuEndpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(_address(endpoint), []).append(endpoint)
    return list(groups.values())


def _address(endpoint: EcuEndpoint) -> object:
    """Return the functional address of an ECU, as a key."""
    try:
        return functional_address(endpoint.isotp, functional_id=endpoint.functional_id)
    except ValueError:
        # The address contradicts itself. It is an address of its own: the error is raised where a request is sent to it.
        return endpoint.name
