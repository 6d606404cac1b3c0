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

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from otabench.bench.bus.pacing import Pacing
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.errors import BenchError
from otabench.bench.firmware import images
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher import endpoints
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.bus_faults import BusPorts
from otabench.bench.launcher.ecus import Ecus
from otabench.bench.launcher.jobs import Jobs
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.processes import Processes
from otabench.bench.launcher.specs.names import GATEWAY, ecu_process
from otabench.bench.pytest_plugin import upkeep
from otabench.bench.pytest_plugin.tester import Tester
from otabench.bench.run_folder import RunFolder
from otabench.bench.topology.model import Topology
from otabench.bench.uds.errors import FlashError
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import SlotState
from otabench.proto.image_format import ImageVersion

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient

_ECU_ANSWERS_S: Final = 15.0


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
        running: the bench. Its parts are properties here, too: ``processes``, ``ecus``, ``jobs``, … (see ``Bench``).
        tester: UDS beside the gateway.
        state: the last one that was reached.
        broken: why the bench cannot be used any more; empty while it can.
    """

    def __init__(self, running: Bench) -> None:
        self.running = running
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
            upkeep.await_gateway_reading(running, since_ns=0)
            shared.transition(BenchState.APPLICATION)
        except BaseException:
            shared.stop()
            raise
        return shared

    # The parts of the bench.

    @property
    def processes(self) -> Processes:
        return self.running.processes

    @property
    def ecus(self) -> Ecus:
        return self.running.ecus

    @property
    def jobs(self) -> Jobs:
        return self.running.jobs

    @property
    def bus_ports(self) -> BusPorts:
        return self.running.bus_ports

    @property
    def hmi(self) -> HmiClient:
        return self.running.hmi

    @property
    def operator(self) -> OperatorClient:
        return self.running.operator

    @property
    def topology(self) -> Topology:
        return self.running.topology

    @property
    def folder(self) -> RunFolder:
        return self.running.folder

    @property
    def options(self) -> BenchOptions:
        return self.running.options

    @property
    def firmware(self) -> dict[str, dict[str, FirmwareFile]]:
        return self.running.firmware

    @property
    def pacings(self) -> dict[str, Pacing]:
        return self.running.pacings

    @property
    def kernel_can(self) -> bool:
        return self.running.kernel_can

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
            ValueError: the state does not exist.
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
        upkeep.start_missing(self.running)

    def _leave(self) -> None:
        self.tester.release()

    def _stop_gateway(self) -> None:
        if self.processes.is_running(GATEWAY):
            upkeep.close_jobs(self.running)
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

    def next_version(self) -> str:
        """Return the version after the newest that any ECU runs: one minor further, so that no security counter rises.

        Raises:
            FlashError: an ECU does not report what it runs.
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
