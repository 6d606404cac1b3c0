"""What the fixtures ``ecu``, ``power``, ``fault``, ``gateway`` and ``campaign`` give: one thing of the bench each.

Each handle brings the bench into the state that an operation needs, and undoes at the end of a test what it did.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otabench.bench.clients.job_watch import JobView
from otabench.bench.errors import WrongUsage
from otabench.bench.launcher.jobs import CampaignHandle
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.launcher.specs.names import GATEWAY
from otabench.bench.pytest_plugin import upkeep
from otabench.bench.pytest_plugin.shared_bench import BenchState, SharedBench
from otabench.bench.topology.entries import EcuEntry
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.slot_table import Slot
from otabench.proto.driver_rules import DriverRules
from otabench.proto.job_states import JobState

_SOFTWARE_VERSION: Final = 0xF189
_ANSWERS_S: Final = 15.0


@dataclass(frozen=True)
class Ecu:
    """One ECU, asked over UDS whatever it is: a simulator or a real board.

    The gateway uses the same identifiers: send requests before or after an update. During one, ``bench.ecus.control_port(name).state()``
    works.
    """

    name: str
    bench: SharedBench

    @property
    def entry(self) -> EcuEntry:
        """Its entry in the bench file."""
        return self.bench.topology.ecus[self.name]

    @property
    def endpoint(self) -> EcuEndpoint:
        """Identifiers, bus, ISO-TP parameters and security access secret."""
        return self.bench.tester.endpoints[self.name]

    @property
    def is_board(self) -> bool:
        """Whether it is a real board."""
        return self.entry.kind == "board"

    def request(self, payload: bytes) -> bytes:
        """Send one UDS request and give the whole positive answer.

        Raises:
            FlashError: negative response (``nrc`` has it), silence, or an answer that does not fit.
        """
        with self.bench.tester.client(self.name) as client:
            return client.request(payload, step=f"{payload[:3].hex(' ').upper()} (by the test)")

    def read(self, identifier: int) -> bytes:
        """ReadDataByIdentifier: one data record.

        Raises:
            FlashError: as ``request``.
        """
        with self.bench.tester.client(self.name) as client:
            return client.read(identifier)

    def software_version(self) -> str:
        """DID F189.

        Raises:
            FlashError: as ``request``.
        """
        return self.read(_SOFTWARE_VERSION).decode("ascii", errors="replace")

    def identity(self) -> EcuIdentity:
        """Return the serial number, hardware id, version and both slots.

        Raises:
            FlashError: as ``request``.
        """
        return self.bench.tester.identity(self.name)

    def active_slot(self) -> Slot:
        """Return the slot it runs from: state, version, security counter.

        Raises:
            FlashError: as ``request``.
        """
        return self.identity().active

    def wait_until_up(self, *, timeout_s: float = _ANSWERS_S) -> None:
        """Wait until it answers, and put it into the default session.

        Raises:
            FlashError: it does not answer within that time.
        """
        self.bench.tester.enter_default(self.name, within_s=timeout_s)


@dataclass(frozen=True)
class Power:
    """The supply of one ECU."""

    ecu: Ecu

    def off(self) -> None:
        """Switch it off.

        Raises:
            PowerError: it could not be.
        """
        self.ecu.bench.ecus.power(self.ecu.name).off()

    def on(self, *, wait: bool = True) -> None:
        """Switch it on and wait until the ECU answers.

        Raises:
            PowerError: it could not be.
            FlashError: the ECU does not answer.
        """
        self.ecu.bench.ecus.power(self.ecu.name).on()
        if wait:
            self.ecu.wait_until_up()

    def cycle(self, *, wait: bool = True) -> None:
        """Off, a while without supply, on; waits until the ECU answers.

        Raises:
            PowerError: it could not be.
            FlashError: the ECU does not answer.
        """
        self.ecu.bench.ecus.power(self.ecu.name).cycle()
        if wait:
            self.ecu.wait_until_up()


@dataclass(frozen=True)
class Faults:
    """Faults on demand: ``fault("boot-fail")``; cleared after the test. Kinds: ``faults.control_port.FAULT_KINDS``."""

    ecu: Ecu

    def __call__(self, kind: str, *, ecu: str | None = None, **parameters: Any) -> None:
        """Set a fault.

        Args:
            kind: such as ``boot-fail``, ``nrc``, ``power-cut``.
            ecu: another ECU than the fixture's.
            parameters: of that kind.

        Raises:
            WrongUsage: no such kind, or no such simulated ECU.
            EndpointError: the ECU refuses the parameters.
        """
        self.ecu.bench.ecus.control_port(ecu or self.ecu.name).fault(kind, **parameters)

    def clear(self, *, ecu: str | None = None) -> None:
        """Clear all faults of one ECU."""
        self.ecu.bench.ecus.control_port(ecu or self.ecu.name).clear()


@dataclass(frozen=True)
class Gateway:
    """The gateway's process, and what it shows."""

    bench: SharedBench

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.bench.folder.log(GATEWAY)

    def state(self) -> dict[str, Any]:
        """Return what its HMI shows, as JSON.

        Raises:
            EndpointError: it does not answer.
        """
        return self.bench.hmi.state()

    def kill(self) -> None:
        """End the gateway as a crash would."""
        self.bench.processes.kill(GATEWAY)

    def stop(self) -> None:
        """Ask it to end."""
        self.bench.processes.stop(GATEWAY)

    def start(self) -> None:
        """Start it again, and wait until it has read the ECUs or gone on with its job.

        Raises:
            BenchError: it does not come up, or does not read them.
        """
        since_ns = time.monotonic_ns()
        self.bench.processes.start(GATEWAY)
        upkeep.await_gateway_reading(self.bench.running, since_ns=since_ns)

    def restart(self) -> None:
        """Stop and starts it.

        Raises:
            BenchError: as ``start``.
        """
        self.stop()
        self.start()


@dataclass(frozen=True)
class Campaign:
    """Campaigns for this vehicle. Firmware of a version is made when it is first asked for."""

    bench: SharedBench

    def next_version(self) -> str:
        """Return the version that ``offer`` and ``install`` take by default: one minor past the newest running one."""
        return self.bench.next_version()

    def offer(
        self,
        version: str | None = None,
        *,
        images: Mapping[str, bytes | Path] | None = None,
        transfer: TransferPolicy | str | None = None,
        ecus: Collection[str] | None = None,
        name: str = "Campaign of a test",
        release_notes: str = "Made by a test.",
        conditions: Collection[str] = (),
        conditions_limit_s: float = 0.0,
        driver: DriverRules | None = None,
    ) -> CampaignHandle:
        """Make a campaign; the driver is not asked yet.

        Args:
            version: None: ``next_version``.
            images: ECU name to MCUboot image, or to the file of an image or of a packed program, instead of the bench's own.
            transfer: auto, full or delta.
            ecus: only these; None: all.
            name, release_notes: shown to the driver.
            conditions: that the vehicle must meet, such as ``"speed_km_h<=0"`` (docs/campaigns.md).
            conditions_limit_s: how long the vehicle waits for a lost condition; 0: ten minutes.
            driver: what the driver may decide, and how often (docs/campaigns.md). None: freely.

        Raises:
            BenchError: the bench is broken, the firmware cannot be made, or the cloud refuses.
        """
        unknown = sorted(set(ecus or ()) - set(self.bench.topology.ecus))
        if unknown:
            raise WrongUsage(f"there is no ECU {', '.join(unknown)}; known: {', '.join(self.bench.topology.ecus)}")
        if self.bench.state is not BenchState.APPLICATION:
            self.bench.transition(BenchState.APPLICATION)
        wanted = version or self.next_version()
        self.bench.make_firmware(wanted)
        return self.bench.jobs.start_campaign(
            version=wanted,
            images=images,
            transfer=None if transfer is None else TransferPolicy(transfer),
            ecus=ecus,
            name=name,
            release_notes=release_notes,
            conditions=conditions,
            conditions_limit_s=conditions_limit_s,
            driver=driver,
        )

    def decide(self, decision: str = "install", *, when: str = "", reason: str = "", timeout_s: float = 60.0) -> None:
        """Wait until the driver is asked, and decide: ``install``, ``schedule`` (``when``), ``later`` or ``decline`` (``reason``).

        Raises:
            WaitTimeout: the driver is never asked.
            EndpointError: the gateway refuses the decision.
        """
        self.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=timeout_s)
        self.bench.jobs.decide(decision, when=when, reason=reason)

    def wait(self, state: JobState | str, *, timeout_s: float = 60.0) -> JobView:
        """Wait until the job is, or has been, in a state.

        Raises:
            WaitTimeout: it does not come there.
        """
        return self.bench.jobs.wait_for(state, timeout_s=timeout_s)

    def wait_for_end(self, *, timeout_s: float = 120.0) -> JobView:
        """Wait until the job has ended, however.

        Raises:
            WaitTimeout: it goes on.
        """
        return self.bench.jobs.wait_for_end(timeout_s=timeout_s)

    def install(self, version: str | None = None, *, timeout_s: float = 120.0, **offer: Any) -> JobView:
        """Return a whole update with the driver's consent: offer, decide, end. Takes the arguments of ``offer``.

        Returns:
            The job as it ended: ``state``, ``reason``, ``history``.

        Raises:
            BenchError: as the three.
        """
        self.offer(version, **offer)
        self.decide("install", timeout_s=timeout_s)
        return self.wait_for_end(timeout_s=timeout_s)
