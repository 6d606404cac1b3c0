"""``Vehicle`` by UDS over ISO-TP: all ECUs, on all buses.

Rules:

* Staging uses one thread for each bus and programs the ECUs of a bus one after the other. All other calls are a few short messages, sent
  in order.
* TesterPresent runs from staging until ``finish``. It stops when staging fails.

The programming of one bus is in ``programming``; the acts on one ECU are in ``activation``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.config import GatewayConfig, bus_key
from otabench.bench.gateway.flashing import activation, soak
from otabench.bench.gateway.flashing.common_steps import plan
from otabench.bench.gateway.flashing.programming import BusProgramming
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.steps import functional_request, simple_step, title
from otabench.bench.gateway.vehicle import EcuImage, Phase, ProgressListener
from otabench.bench.uds.bus_link import BusLink, ChannelOpener
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.dtcs import read_dtcs
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, FlashCanceled, FlashError, SeveralFailed
from otabench.bench.uds.identity import EcuIdentity, read_identity
from otabench.bench.uds.profile import load
from otabench.bench.uds.services import suppressed
from otabench.bench.uds.slot_table import SlotState
from otabench.bench.uds.transport import open_channel
from otabench.proto.conditions import ConditionSource, Quantity
from otabench.proto.trace import TraceWriter


class UdsVehicle:
    """A ``gateway.vehicle.Vehicle`` on real buses.

    It opens a bus at the first call that needs it. A call waits until the call before has ended.

    Args:
        config: ECUs and times.
        trace: receives every UDS exchange.
        opener: opens the buses.
    """

    def __init__(self, config: GatewayConfig, trace: TraceWriter, *, opener: ChannelOpener = open_channel) -> None:
        self._timing = config.timing
        # ``close`` may be called by another thread than the calls of an update.
        self._lock = threading.RLock()
        groups: dict[str, list[EcuEndpoint]] = {}
        for endpoint in config.ecus:
            groups.setdefault(bus_key(endpoint), []).append(endpoint)
        self._links = [BusLink(endpoints, trace, opener=opener) for endpoints in groups.values()]
        self._link_of = {name: link for link in self._links for name in link.endpoints}

    def identify(self) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.identify``."""
        with self._job(None):
            return {name: self._identity(link.client(name)) for name, link in self._link_of.items()}

    def read_conditions(self, sources: Mapping[Quantity, ConditionSource], *, job_id: str) -> Mapping[Quantity, float]:
        """See ``Vehicle.read_conditions``."""
        with self._job(job_id):
            return {
                quantity: value
                for quantity, source in sources.items()
                if (value := self._read_condition(source)) is not None
            }

    def stage(
        self,
        images: list[EcuImage],
        *,
        job_id: str,
        progress: ProgressListener,
        cancel: threading.Event,
        fetch_image: Callable[[str], None],
    ) -> None:
        """See ``Vehicle.stage``."""
        with self._job(job_id):
            by_link = [(link, [image for image in images if image.ecu in link.endpoints]) for link in self._links]
            work = [(link, mine) for link, mine in by_link if mine]
            self._require_known(images)
            # A soak that outlasts the trial could never be confirmed. Fail before anything is sent.
            self._soak_time_s(images)
            stop = _Stop(cancel)
            try:
                self._keep_sessions()
                with ThreadPoolExecutor(max_workers=max(1, len(work)), thread_name_prefix="flash") as pool:
                    jobs = [
                        pool.submit(self._stage_bus, link, mine, progress, stop, fetch_image) for link, mine in work
                    ]
                _raise_first([job.exception() for job in jobs])
            except BaseException:
                self._let_sessions_end()
                raise

    def activate(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> None:
        """See ``Vehicle.activate``."""
        with self._job(job_id):
            self._keep_sessions()
            pairs = self._pairs(images)
            # Check all ECUs before the first one is changed. If one of them reports an unmet dependency, all others stay as they are (ADR
            # 6).
            changing = [(client, image) for client, image in pairs if activation.needs_activation(client, image)]
            for client, _ in changing:
                ProgressSender(client, progress).phase(Phase.ACTIVATING)
            for client, image in changing:
                activation.make_trial(client, image)
            for client, image in changing:
                # Reset only after all slots are trial slots. Until the first reset every ECU still runs its old version.
                activation.reset_into_trial(client, image)

    def verify(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.verify``."""
        with self._job(job_id):
            deadline = Deadline(self._timing.boot_timeout_s)
            pairs, identities = self._pairs(images), {}
            for client, image in pairs:
                identity = activation.await_version(client, image.version, deadline=deadline)
                confirmed = identity.active.state is SlotState.CONFIRMED
                ProgressSender(client, progress).phase(Phase.CONFIRMED if confirmed else Phase.TRIAL)
                identities[client.name] = identity
            trials = [pair for pair in pairs if identities[pair[0].name].active.state is SlotState.TRIAL]
            time_s = self._soak_time_s(images)
            for client, _ in trials if time_s > 0 else []:
                ProgressSender(client, progress).phase(Phase.SOAKING, detail=f"for {time_s:g} s")
            soak.soak(trials, time_s)
            return identities

    def confirm(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.confirm``."""
        with self._job(job_id):
            self._keep_sessions()
            pairs = self._pairs(images)
            # Confirming is the point of no return (ADR 3). First make sure that every ECU still runs the new version.
            for client, image in pairs:
                activation.require_running(client, image)
            identities = {}
            for client, image in pairs:
                identities[client.name] = activation.confirm(client, image)
                ProgressSender(client, progress).phase(Phase.CONFIRMED)
            return identities

    def revert(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.revert``."""
        with self._job(job_id):
            self._keep_sessions()
            identities: dict[str, EcuIdentity] = {}
            problems: list[FlashError] = []
            for client, image in self._pairs(images):
                try:
                    identities[client.name] = activation.revert(
                        client, image, boot_timeout_s=self._timing.boot_timeout_s
                    )
                    ProgressSender(client, progress).phase(Phase.REVERTED)
                except FlashError as error:
                    ProgressSender(client, progress).phase(Phase.FAILED, detail=str(error))
                    # Continue with the other ECUs, and report all failures together.
                    problems.append(error)
            if problems:
                raise SeveralFailed(problems) from problems[0]
            return identities

    def finish(self, *, job_id: str) -> None:
        """See ``Vehicle.finish``."""
        with self._job(job_id):
            for link in self._links:
                link.let_sessions_end()
                try:
                    self._finish_bus(link)
                except BusUnavailable:
                    # The failure is traced. Without TesterPresent the ECUs end their sessions by themselves (S3).
                    continue
                self._trace_dtcs(link)

    def close(self) -> None:
        """See ``Vehicle.close``."""
        with self._lock:
            for link in self._links:
                link.close()

    def _read_condition(self, source: ConditionSource) -> float | None:
        if source.identifier is None:
            return source.value
        link = self._link_of.get(source.ecu)
        if link is None:
            return None
        try:
            return source.read(link.client(source.ecu).read(source.identifier))
        except FlashError:
            # The exchange is in the trace. For the conditions it is enough that the value is not known.
            return None

    @staticmethod
    def _identity(client: EcuClient) -> EcuIdentity:
        return replace(read_identity(client), dtcs=tuple(str(dtc) for dtc in read_dtcs(client)))

    @staticmethod
    def _trace_dtcs(link: BusLink) -> None:
        """Trace the stored trouble codes of all ECUs, now that DTC setting is on again."""
        for name in link.endpoints:
            client = link.client(name)
            try:
                dtcs = read_dtcs(client)
            except FlashError:
                # The exchange without a response is in the trace already.
                continue
            client.emit("ecu.dtcs", dtcs=[str(dtc) for dtc in dtcs])

    def _stage_bus(
        self,
        link: BusLink,
        images: list[EcuImage],
        progress: ProgressListener,
        stop: _Stop,
        fetch_image: Callable[[str], None],
    ) -> None:
        try:
            BusProgramming(link, timing=self._timing, progress=progress, cancel=stop, fetch_image=fetch_image).stage(
                images
            )
        except BaseException:
            # An update is all or nothing, so the other buses need not finish.
            stop.set()
            raise

    @staticmethod
    def _finish_bus(link: BusLink) -> None:
        """Run post-programming on every ECU of a bus. What fails is traced, and no reason to stop."""
        profiles = {name: profile for group in link.functional_groups() for name, profile in group.items()}
        for act in plan(profiles, link.functional_groups(), lambda profile: profile.sequence.post_programming):
            request = functional_request(act.step, profiles[act.ecus[0]])
            if request is not None and act.functional_to is not None:
                # Nobody waits for the responses, so suppress them (bit 7 of the sub-function).
                request = suppressed(request)
                name = f"{title(request, act.step)} (functional)"
                link.send_functional(request, step=name, to=act.functional_to, is_best_effort=True)
                continue
            for ecu in act.ecus:
                with suppress(FlashError):
                    simple_step(link.client(ecu), act.step)

    def _pairs(self, images: list[EcuImage]) -> list[tuple[EcuClient, EcuImage]]:
        self._require_known(images)
        return [(self._link_of[image.ecu].client(image.ecu), image) for image in images]

    def _soak_time_s(self, images: list[EcuImage]) -> float:
        profiles = {image.ecu: load(self._link_of[image.ecu].endpoints[image.ecu].profile) for image in images}
        return soak.soak_time_s(profiles, self._timing.soak_s)

    def _require_known(self, images: list[EcuImage]) -> None:
        for image in images:
            if image.ecu not in self._link_of:
                known = ", ".join(self._link_of)
                raise FlashError(
                    f"no such ECU in the gateway's configuration (it has {known})", ecu=image.ecu, step="select ECU"
                )

    def _keep_sessions(self) -> None:
        for link in self._links:
            link.keep_sessions()

    def _let_sessions_end(self) -> None:
        for link in self._links:
            link.let_sessions_end()

    @contextmanager
    def _job(self, job_id: str | None) -> Iterator[None]:
        with self._lock:
            for link in self._links:
                link.set_job(job_id)
            yield


class _Stop(threading.Event):
    """An event that is set when another bus fails, or when the caller sets ``cancel``."""

    def __init__(self, cancel: threading.Event) -> None:
        super().__init__()
        self._cancel = cancel

    def is_set(self) -> bool:
        return super().is_set() or self._cancel.is_set()


def _raise_first(problems: list[BaseException | None]) -> None:
    """Raise the failure that stopped the other buses, in preference to their cancellation."""
    raised = [problem for problem in problems if problem is not None]
    raised.sort(key=lambda problem: isinstance(problem, FlashCanceled))
    if raised:
        raise raised[0]
