"""The bench that all tests of a run share: a running ``Bench`` that can be brought into a state.

A test asks for a state, not for the steps that lead there from the present one. Every transition ends with the state proven on the
bus. The first transition that fails breaks the bench, and the remaining bench tests are skipped.

| state | ECUs | gateway |
|---|---|---|
| ``off`` | without supply, silent | stopped |
| ``default`` | default session, confirmed slot | stopped: the test is the only tester on the bus |
| ``programming`` | programming session, unlocked, kept there by TesterPresent | stopped |
| ``application`` | default session, confirmed slot | runs, and cloud and broker with it: ready for a campaign |
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from otabench.bench.clients.job_watch import TraceTail
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, EndpointError
from otabench.bench.firmware import images
from otabench.bench.launcher import endpoints
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.specs.names import CAPTURES, CLOUD_CONTROL, GATEWAY, ecu_process
from otabench.bench.pytest_plugin.tester import Tester
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import SlotState
from otabench.proto.image_format import ImageVersion
from otabench.proto.job_states import from_wire, is_final

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient

_ECU_ANSWERS_S: Final = 15.0
_JOB_ENDS_S: Final = 60.0
_GATEWAY_READS_S: Final = 20.0
_CANCEL_AFTER_S: Final = 0.5
_POLL_INTERVAL_S: Final = 0.1


class BenchState(StrEnum):
    """The states that a bench can be brought into."""

    OFF = "off"
    DEFAULT = "default"
    PROGRAMMING = "programming"
    APPLICATION = "application"


class BenchBroken(BenchError):
    """The bench cannot be used any more in this run."""


class SharedBench:
    """A running bench with states.

    Args:
        running: a bench that is up; ``bring_up`` brings up one of its own.

    Attributes:
        running: the bench.
        processes, ecus, jobs, bus_ports, hmi, topology, folder, options, firmware, pacings, kernel_can: the running bench's own,
            see ``Bench``.
        tester: UDS beside the gateway.
        state: the last one that was reached.
        broken: why the bench cannot be used any more; empty while it can.
    """

    def __init__(self, running: Bench) -> None:
        self.running = running
        self.processes = running.processes
        self.ecus = running.ecus
        self.jobs = running.jobs
        self.bus_ports = running.bus_ports
        self.hmi = running.hmi
        self.topology = running.topology
        self.folder = running.folder
        self.options = running.options
        self.firmware = running.firmware
        self.pacings = running.pacings
        self.kernel_can = running.kernel_can
        self.tester = Tester(
            endpoints.all_endpoints(running.topology, keys_dir=running.setup.keys_dir),
            trace=running.folder.trace,
            vin=running.topology.vehicle.vin,
        )
        self.state = BenchState.APPLICATION
        self.broken = ""
        self._steps: dict[BenchState, Callable[[], None]] = {
            BenchState.OFF: self._to_off,
            BenchState.DEFAULT: self._to_default,
            BenchState.PROGRAMMING: self._to_programming,
            BenchState.APPLICATION: self._to_application,
        }

    @classmethod
    def bring_up(cls, options: BenchOptions, *, say: Callable[[str], None] = lambda _: None) -> SharedBench:
        """Return a shared bench in the state ``application``.

        Args:
            options: what to bring up.
            say: receives one line for each thing that is done.

        Raises:
            BenchError: it does not come up; everything that was started is stopped.
        """
        running = Bench.bring_up(options, say=say)
        try:
            shared = cls(running)
        except BaseException:
            running.stop()
            raise
        try:
            shared.await_gateway_reading(since_ns=0)
            shared.transition(BenchState.APPLICATION)
        except BaseException:
            shared.stop()
            raise
        return shared

    @property
    def operator(self) -> OperatorClient:
        """See ``Bench.operator``."""
        return self.running.operator

    def stop(self) -> None:
        """Stop the tester and the bench. May be called twice."""
        self.tester.close()
        self.running.stop()

    # States.

    def transition(self, state: str) -> None:
        """Bring the bench into a state, whatever state it is in, and prove that it is reached.

        Args:
            state: off, default, programming or application.

        Raises:
            ValueError: there is no such state.
            BenchBroken: it cannot be reached; from then on no state can.
        """
        try:
            wanted = BenchState(state)
        except ValueError:
            raise ValueError(f"there is no bench state {state!r}; known: {', '.join(BenchState)}") from None
        if self.broken:
            raise BenchBroken(self.broken)
        try:
            self._steps[wanted]()
        except (BenchError, FlashError, OSError) as error:
            self.broken = f"transition from {str(self.state)!r} to {str(wanted)!r} failed: {error}"
            raise BenchBroken(f"{self.broken}. Run folder: {self.folder.root}") from error
        self.state = wanted

    def _to_off(self) -> None:
        self._leave()
        self._stop_gateway()
        for ecu in self.topology.ecus:
            self.ecus.power(ecu).off()
        for ecu in self.topology.ecus:
            self.tester.require_silence(ecu)

    def _to_default(self) -> None:
        self._leave()
        self._stop_gateway()
        self._supply()
        self._prove_default()

    def _to_programming(self) -> None:
        self._to_default()
        self.tester.keep_programming()

    def _to_application(self) -> None:
        self._leave()
        self._supply()
        self._prove_default()  # before the gateway is there: it reads the ECUs when it starts
        self.start_missing()

    def _leave(self) -> None:
        self.tester.release()

    def _stop_gateway(self) -> None:
        if self.processes.is_running(GATEWAY):
            self.close_jobs()
            self.processes.stop(GATEWAY)

    def _supply(self) -> None:
        """Switch on every ECU that is off.

        A board is switched on only if the bench switched it off: it may have no switch.
        """
        for name in self.topology.ecus:
            if name in self.topology.simulated():
                process = ecu_process(name)
                if not self.processes.is_running(process):
                    self.processes.start(process)
                if self.ecus.control_port(name).state()["power"] == "off":
                    self.ecus.power(name).on()
            elif name in self.ecus.switched_off:
                self.ecus.power(name).on()

    def _prove_default(self) -> None:
        for ecu in self.topology.ecus:
            self.tester.enter_default(ecu, within_s=_ECU_ANSWERS_S)
            self.require_confirmed(self.tester.identity(ecu))

    # What states and health are made of.

    def require_confirmed(self, found: EcuIdentity) -> None:
        """Make sure that an ECU runs a confirmed slot.

        Raises:
            BenchError: it does not.
        """
        if found.active.state is not SlotState.CONFIRMED:
            raise BenchError(
                f"{found.ecu}: slot {found.active_slot} runs {found.active.version or 'nothing'} as {found.active.state}, "
                "not CONFIRMED"
            )

    def start_missing(self) -> None:
        """Start what a test stopped or killed, except captures, whose files would begin anew.

        Raises:
            ProcessFailed: a process does not come up.
        """
        missing = [
            name
            for name in self.processes.names
            if not name.startswith(CAPTURES) and not self.processes.is_running(name) and name not in self.options.absent
        ]
        for name in sorted(missing, key=lambda name: name == GATEWAY):  # the gateway last: it uses all the others
            since_ns = time.monotonic_ns()
            self.processes.start(name)
            if name == GATEWAY:
                self.await_gateway_reading(since_ns=since_ns)

    def await_gateway_reading(self, *, since_ns: int) -> None:
        """Wait until the gateway has read all ECUs after that moment (monotonic clock); it sends them nothing more until the next job.

        Raises:
            BenchError: it has not read them in time.
        """
        deadline = Deadline(_GATEWAY_READS_S)
        missing = set(self.topology.ecus)
        tail = TraceTail(self.folder.trace)
        while missing:
            for event in tail.new_events():
                if event.event == "ecu.identity" and event.component == "gateway" and event.mono_ns >= since_ns:
                    missing.discard(event.ecu or "")
            job = self.jobs.current()
            if job is not None and not job.ended:
                return  # the gateway continues that job, and reads the ECUs at its end
            self.processes.check()
            if deadline.has_passed():
                raise BenchError(
                    f"the gateway has not read {', '.join(sorted(missing))} within {_GATEWAY_READS_S:.0f} s; "
                    f"see {self.folder.log(GATEWAY)}"
                )
            deadline.pause(_POLL_INTERVAL_S)

    def close_jobs(self) -> None:
        """Wait until no job of this vehicle is open, and cancel those that do not end soon.

        Raises:
            BenchError: a job stays open.
        """
        if not self.processes.is_running(CLOUD_CONTROL) or self.jobs.campaign is None:
            return
        started = time.monotonic()
        while True:
            left = [
                campaign.campaign_id
                for campaign in self.operator.list_campaigns()
                if not all(is_final(from_wire(job.state)) for job in campaign.jobs)
            ]
            if not left:
                return
            waited_s = time.monotonic() - started
            if waited_s > _JOB_ENDS_S:
                raise BenchError(f"campaign {', '.join(left)} is still open {waited_s:.0f} s after the test")
            if waited_s > _CANCEL_AFTER_S:
                self._cancel(left)
            time.sleep(_POLL_INTERVAL_S)

    def _cancel(self, campaigns: list[str]) -> None:
        for campaign in campaigns:
            try:
                self.operator.cancel_campaign(campaign, reason="the test is over")
            except EndpointError:
                continue  # it is past the point where it can be canceled, and ends by itself

    def restore_factory(self, ecu: str) -> None:
        """Bring a simulated ECU back to how it was delivered, with a new flash.

        Raises:
            BenchError: the ECU is a board, or it does not come up.
        """
        process = ecu_process(ecu)
        if ecu not in self.topology.simulated():
            raise BenchError(f"{ecu} is a real board: bring its first firmware back with its programmer")
        self.processes.stop(process)
        config = json.loads(self.folder.config(process).read_text(encoding="utf-8"))
        (self.folder.root / config["state_file"]).unlink(missing_ok=True)
        self.processes.start(process)

    def next_version(self) -> str:
        """Return the version after the newest that any ECU runs: one minor further, so that no security counter rises.

        Raises:
            FlashError: an ECU does not say what it runs.
        """
        running = [ImageVersion.parse(self.tester.identity(ecu).software_version) for ecu in self.topology.ecus]
        newest = max(running)
        return f"{newest.major}.{newest.minor + 1}.0"

    def make_firmware(self, version: str) -> None:
        """Make the firmware of a version for all ECUs that do not have it yet.

        Raises:
            FirmwareError: the version cannot be parsed, or the key is missing.
        """
        missing = tuple(ecu for ecu in self.topology.ecus if version not in self.firmware.get(ecu, {}))
        if not missing:
            return
        made = images.build(
            self.topology,
            keys_dir=self.running.setup.keys_dir,
            out_dir=self.folder.firmware,
            versions=(version,),
            ecus=missing,
            size_bytes=self.options.image_size_bytes,
        )
        for ecu, by_version in made.items():
            self.firmware.setdefault(ecu, {}).update(by_version)
