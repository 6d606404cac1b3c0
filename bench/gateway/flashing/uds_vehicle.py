"""``Vehicle`` by UDS over ISO-TP: all ECUs, on all buses.

Rules:

* Staging uses one thread for each bus and programs the ECUs of a bus one after the other. All other calls are a few short messages, sent
  in order.
* TesterPresent runs from staging until ``finish``. It stops when staging fails. For the same time the vehicle is inhibited
  (``inhibit``).

The programming of one bus is in ``programming``; the acts on one ECU are in ``activation``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from otabench.bench.deadline import Deadline
from otabench.bench.gateway.config import GatewayConfig, bus_key
from otabench.bench.gateway.flashing import activation, soak
from otabench.bench.gateway.flashing.entering import enter_all
from otabench.bench.gateway.flashing.finishing import finish_bus
from otabench.bench.gateway.flashing.inhibit import Inhibitor
from otabench.bench.gateway.flashing.programming import BusProgramming
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.records import FORMER_FOLDER, RECORDS_FOLDER, EcuRecords, FormerImages
from otabench.bench.gateway.flashing.sequence_ecu import SequenceEcu
from otabench.bench.gateway.flashing.version_report import read_version_report
from otabench.bench.gateway.vehicle import EcuImage, Phase, ProgressListener
from otabench.bench.uds.bus_link import BusLink, ChannelOpener
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.dtcs import read_dtcs
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import FlashCanceled, FlashError, SeveralFailed
from otabench.bench.uds.identity import EcuIdentity, read_identity
from otabench.bench.uds.sequence.profile import SequenceProfile
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
        self._inhibitor = Inhibitor(config.inhibit, [endpoints[0].bus for endpoints in groups.values()])
        self._records = EcuRecords(config.state_dir / RECORDS_FOLDER)
        self._former = FormerImages(config.state_dir / FORMER_FOLDER)
        self._sequence_ecus: dict[str, SequenceEcu] = {}

    def identify(self) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.identify``."""
        with self._job(None):
            return {name: self._identity(name) for name in self._link_of}

    def version_reports(self, nonce: bytes) -> Mapping[str, bytes]:
        """See ``Vehicle.version_reports``."""
        with self._job(None):
            return {
                name: read_version_report(link.client(name), nonce)
                for name, link in self._link_of.items()
                if link.endpoints[name].signs_reports
            }

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
            named, sequences = self._pairs(images), self._sequences(images)
            # Check all ECUs before the first one is changed. If one of them reports an unmet dependency, all others stay as they are (ADR
            # 6).
            changing = [(client, image) for client, image in named if activation.needs_activation(client, image)]
            for client, _ in changing:
                ProgressSender(client, progress).phase(Phase.ACTIVATING)
            for client, image in changing:
                activation.make_trial(client, image)
            # Single banks last (ADR 11): from here on there are only resets left for the others. They come later, because a trial that
            # runs while a single bank is programmed might run out of time.
            self._put_into_use([(ecu, image) for ecu, image in sequences if ecu.is_single], progress)
            for client, image in changing:
                # Reset only after all slots are trial slots. Until the first reset every ECU still runs its old version.
                activation.reset_into_trial(client, image)
            for ecu, image in sequences:
                if not ecu.is_single:
                    ecu.activate(image, sender=ProgressSender(ecu.client, progress))

    def verify(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.verify``."""
        with self._job(job_id):
            deadline = Deadline(self._timing.boot_timeout_s)
            named, sequences = self._pairs(images), self._sequences(images)
            identities = {
                client.name: activation.await_version(client, image.version, deadline=deadline)
                for client, image in named
            }
            identities |= {ecu.name: ecu.await_success(image, deadline=deadline) for ecu, image in sequences}
            trials: list[soak.Trial] = [soak.TableTrial(client, image) for client, image in named]
            trials += [soak.SequenceTrial(ecu, image) for ecu, image in sequences]
            senders = {client.name: ProgressSender(client, progress) for client, _ in named}
            senders |= {ecu.name: ProgressSender(ecu.client, progress) for ecu, _ in sequences}
            on_trial = []
            for trial in trials:
                is_trial = identities[trial.name].active.state is SlotState.TRIAL
                senders[trial.name].phase(Phase.TRIAL if is_trial else Phase.CONFIRMED)
                on_trial += [trial] if is_trial else []
            time_s = self._soak_time_s(images)
            for trial in on_trial if time_s > 0 else []:
                senders[trial.name].phase(Phase.SOAKING, detail=f"for {time_s:g} s")
            soak.soak(on_trial, time_s)
            return identities

    def confirm(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.confirm``."""
        with self._job(job_id):
            self._keep_sessions()
            named, sequences = self._pairs(images), self._sequences(images)
            # Confirming is the point of no return (ADR 3). First make sure that every ECU still runs the new version.
            for client, image in named:
                activation.require_running(client, image)
            for ecu, image in sequences:
                ecu.require_running(image)
            identities = {}
            for client, image in named:
                identities[client.name] = activation.confirm(client, image)
                ProgressSender(client, progress).phase(Phase.CONFIRMED)
            for ecu, image in sequences:
                identities[ecu.name] = ecu.confirm(image)
                ProgressSender(ecu.client, progress).phase(Phase.CONFIRMED)
            return identities

    def revert(self, images: list[EcuImage], *, job_id: str, progress: ProgressListener) -> Mapping[str, EcuIdentity]:
        """See ``Vehicle.revert``."""
        with self._job(job_id):
            self._keep_sessions()
            identities: dict[str, EcuIdentity] = {}
            problems: list[FlashError] = []
            for name, sender, way_back in self._ways_back(images, progress):
                try:
                    identities[name] = way_back()
                    sender.phase(Phase.REVERTED)
                except FlashError as error:
                    sender.phase(Phase.FAILED, detail=str(error))
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
                finish_bus(link, self._sequence_ecu)
            self._inhibitor.end()

    def close(self) -> None:
        """See ``Vehicle.close``."""
        with self._lock:
            for link in self._links:
                link.close()
            self._inhibitor.abandon()

    def _read_condition(self, source: ConditionSource) -> float | None:
        if source.identifier is None:
            return source.value
        link = self._link_of.get(source.ecu)
        if link is None:
            return None
        try:
            has_sequences = self._has_sequences(source.ecu)
            client = link.sequence_client(source.ecu) if has_sequences else link.client(source.ecu)
            return source.read(client.read(source.identifier))
        except FlashError:
            # The exchange is in the trace. For the conditions it is enough that the value is not known.
            return None

    def _ways_back(
        self, images: list[EcuImage], progress: ProgressListener
    ) -> list[tuple[str, ProgressSender, Callable[[], EcuIdentity]]]:
        """Return how each ECU is reverted: single banks first, because they were changed last, and have no other slot (ADR 11)."""
        ways: list[tuple[str, ProgressSender, Callable[[], EcuIdentity]]] = []
        for ecu, image in sorted(self._sequences(images), key=lambda each: not each[0].is_single):
            sender = ProgressSender(ecu.client, progress)
            ways.append((ecu.name, sender, partial(ecu.revert, image, sender=sender)))
        for client, image in self._pairs(images):
            way = partial(activation.revert, client, image, boot_timeout_s=self._timing.boot_timeout_s)
            ways.append((client.name, ProgressSender(client, progress), way))
        return ways

    def _put_into_use(self, singles: list[tuple[SequenceEcu, EcuImage]], progress: ProgressListener) -> None:
        """Program ECUs with a single bank, and start them: one after the other on each bus."""
        for link in self._links:
            mine = [(ecu, image) for ecu, image in singles if ecu.name in link.endpoints]
            members = {ecu.name: ecu for ecu, image in mine if not ecu.runs_already(image) and ecu.is_in_application()}
            entered = enter_all(
                link,
                members,
                attempts=self._timing.stage_attempts,
                # The others must keep their sessions.
                may_address_all=link.endpoints.keys() <= members.keys(),
            )
            for ecu, image in mine:
                sender = ProgressSender(ecu.client, progress)
                ecu.put_into_use(image, sender=sender, is_entered=ecu.name in entered)

    def _identity(self, name: str) -> EcuIdentity:
        if self._has_sequences(name):
            return self._sequence_ecu(name).reading.identity()
        client = self._link_of[name].client(name)
        return replace(read_identity(client), dtcs=tuple(str(dtc) for dtc in read_dtcs(client)))

    def _stage_bus(
        self,
        link: BusLink,
        images: list[EcuImage],
        progress: ProgressListener,
        stop: _Stop,
        fetch_image: Callable[[str], None],
    ) -> None:
        try:
            BusProgramming(
                link,
                sequences={ecu.name: ecu for ecu, _ in self._sequences(images)},
                timing=self._timing,
                progress=progress,
                cancel=stop,
                fetch_image=fetch_image,
            ).stage(images)
        except BaseException:
            # An update is all or nothing, so the other buses need not finish.
            stop.set()
            raise

    def _has_sequences(self, name: str) -> bool:
        return isinstance(self._link_of[name].profile(name), SequenceProfile)

    def _sequence_ecu(self, name: str) -> SequenceEcu:
        client = self._link_of[name].sequence_client(name)
        ecu = self._sequence_ecus.get(name)
        # A bus that was closed has new clients.
        if ecu is None or ecu.client is not client:
            ecu = SequenceEcu(client, records=self._records, former=self._former, timing=self._timing)
            self._sequence_ecus[name] = ecu
        return ecu

    def _pairs(self, images: list[EcuImage]) -> list[tuple[EcuClient, EcuImage]]:
        """Return the ECUs with named steps, each with its image."""
        self._require_known(images)
        return [
            (self._link_of[image.ecu].client(image.ecu), image)
            for image in images
            if not self._has_sequences(image.ecu)
        ]

    def _sequences(self, images: list[EcuImage]) -> list[tuple[SequenceEcu, EcuImage]]:
        """Return the ECUs with sequence profiles, each with its image."""
        self._require_known(images)
        return [(self._sequence_ecu(image.ecu), image) for image in images if self._has_sequences(image.ecu)]

    def _soak_time_s(self, images: list[EcuImage]) -> float:
        profiles = {image.ecu: self._link_of[image.ecu].profile(image.ecu) for image in images}
        return soak.soak_time_s(profiles, self._timing.soak_s)

    def _require_known(self, images: list[EcuImage]) -> None:
        for image in images:
            if image.ecu not in self._link_of:
                known = ", ".join(self._link_of)
                raise FlashError(
                    f"no such ECU in the gateway's configuration (it has {known})", ecu=image.ecu, step="select ECU"
                )

    def _keep_sessions(self) -> None:
        self._inhibitor.begin()
        for link in self._links:
            link.keep_sessions()

    def _let_sessions_end(self) -> None:
        for link in self._links:
            link.let_sessions_end()
        self._inhibitor.end()

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
