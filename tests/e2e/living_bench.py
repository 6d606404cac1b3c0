"""One bench shared by many end-to-end tests: each test takes the vehicle one version further, or proves that it stayed.

A bench takes seconds to come up, so the tests share it. What makes that safe: firmware is made in many versions, every
test asks for the next one, and after every test all processes run, faults are cleared, no job is open, and all ECUs are
proven to run one confirmed version.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otabench.bench.clients.job_watch import JobView
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import BenchOptions
from otabench.proto.image_format import ImageVersion
from otabench.proto.job_states import JobState, from_wire, is_final, to_wire
from otabench.proto.ota_pb2 import Campaign
from otabench.proto.trace import TraceEvent, read
from tests.waiting import PATIENCE_S

IMAGE_SIZE_BYTES: Final = 24 * 1024
VERSIONS: Final = tuple(f"{major}.0.0" for major in range(1, 81))
QUICK_GATEWAY: Final = {
    "retry_first_s": 0.1,
    "retry_max_s": 0.5,
    "boot_timeout_s": 12.0,
    "ecu_lost_timeout_s": 6.0,
    "soak_s": 0.5,
}
QUICK_ECU: Final = {"boot_s": 0.05, "security_delay_s": 1.0}


QUICK: Final[dict[str, Any]] = {
    "image_size_bytes": IMAGE_SIZE_BYTES,
    "gateway_timing": QUICK_GATEWAY,
    "ecu_timing": QUICK_ECU,
    "poll_interval_s": 1.0,
    "versions": VERSIONS,
}
"""Options of the bench that the tests share."""


def quick_options(runs_dir: Path, **overrides: Any) -> BenchOptions:
    """Return the same for a bench of its own, delivered with 1.0.0 and unrecorded, unless said otherwise."""
    own = {"runs_dir": runs_dir, "capture": False, "versions": VERSIONS[:2]}
    return BenchOptions(**(QUICK | own | overrides))


@dataclass(frozen=True)
class EcuState:
    """What an ECU's control port says, in the words of the tests."""

    running: str
    slot: str


def states(bench: Bench) -> dict[str, EcuState]:
    """Return the version and state of each ECU's active slot."""
    found = {}
    for name, state in bench.ecus.states().items():
        slot = state["slots"][state["active_slot"]]
        found[name] = EcuState(slot["version"], slot["state"])
    return found


def wait_until_confirmed(bench: Bench, version: str, *, timeout_s: float = PATIENCE_S) -> None:
    """Wait until all ECUs are up, in their application, and run that version in a CONFIRMED slot."""
    deadline = time.monotonic() + timeout_s
    wanted = dict.fromkeys(bench.topology.ecus, EcuState(version, "CONFIRMED"))
    while True:
        raw = bench.ecus.states()
        if states(bench) == wanted and all(state["mode"] == "application" for state in raw.values()):
            return
        assert time.monotonic() < deadline, f"not all on confirmed {version}: {raw}"
        time.sleep(0.05)


class LivingBench:
    """The shared bench, and where its vehicle stands."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.version = VERSIONS[0]
        self._staged: set[str] = set()

    @property
    def next_version(self) -> str:
        """Above what runs, and staged in no ECU by an earlier test: what is staged already is not transferred again."""
        above = VERSIONS[VERSIONS.index(self.version) + 1 :]
        return next(version for version in above if version not in self._staged)

    def start_campaign(self, **arguments: Any) -> str:
        """Offer the next version, once the cloud has heard the end of the job before; the job's id."""
        self._wait_until_no_job_is_open()
        bench = self.bench
        return bench.jobs.start_campaign(version=self.next_version, **arguments).job_id

    def approve(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the question and answers Install."""
        self.bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=timeout_s)
        self.bench.jobs.decide("install")

    def expect_updated(self, *, timeout_s: float = 60.0) -> JobView:
        """Let the job succeed, and prove that every ECU runs the offered version, confirmed."""
        wanted = self.next_version
        job = self.bench.jobs.wait_for_end(timeout_s=timeout_s)
        assert job.state is JobState.SUCCEEDED, f"{job.state}: {job.reason}"
        wait_until_confirmed(self.bench, wanted)
        self.version = wanted
        return job

    def expect_unchanged(self, ended: JobState, *, timeout_s: float = 60.0) -> JobView:
        """Let the job end as stated, and prove that every ECU runs the version it had, confirmed."""
        job = self.bench.jobs.wait_for_end(timeout_s=timeout_s)
        assert job.state is ended, f"{job.state}: {job.reason}"
        wait_until_confirmed(self.bench, self.version)
        return job

    def expect_cloud_knows(self, state: JobState, *, timeout_s: float = PATIENCE_S) -> None:
        """The cloud has heard how the last campaign's only job ended, and that nothing else is told of it."""
        assert self.bench.jobs.campaign is not None
        deadline = time.monotonic() + timeout_s
        wanted = [to_wire(state)]
        while True:
            jobs = self.bench.operator.get_campaign(self.bench.jobs.campaign.campaign_id).jobs
            if [job.state for job in jobs] == wanted:
                return
            assert time.monotonic() < deadline, f"the cloud knows {jobs}, not {state}"
            time.sleep(0.1)

    def events(self, job_id: str, names: Iterable[str] = ()) -> list[TraceEvent]:
        """Return the job's events in the trace, in order."""
        wanted = set(names)
        found = [event for event in read(self.bench.folder.trace) if event.job_id == job_id]
        return sorted(
            (event for event in found if not wanted or event.event in wanted), key=lambda event: event.mono_ns
        )

    def heal(self) -> None:
        """After a test: everything runs, no fault is set, all ECUs run one confirmed version.

        The version is what the vehicle says, so that one failed test does not fail those behind it.
        """
        bench = self.bench
        for name in bench.processes.names:
            if not name.startswith("can-") and not bench.processes.is_running(name):
                bench.processes.start(name)
        for name in bench.topology.with_control_port():
            bench.ecus.control_port(name).clear()
            if bench.ecus.control_port(name).state()["power"] == "off":
                bench.ecus.power(name).on()
        self._wait_until_no_job_is_open()
        running = {state.running for state in states(bench).values()}
        newest = max(running, key=ImageVersion.parse)
        wait_until_confirmed(bench, newest)
        self.version = newest
        slots = [slot for state in bench.ecus.states().values() for slot in state["slots"]]
        self._staged = {slot["version"] for slot in slots if slot["state"] == "STAGED"}

    def _wait_until_no_job_is_open(self, *, timeout_s: float = PATIENCE_S, cancel_after_s: float = 20.0) -> None:
        """The cloud has heard the end of every job; what a failed test left open is cancelled."""
        operator = self.bench.operator
        deadline = time.monotonic() + timeout_s
        while True:
            left = {campaign.campaign_id for campaign in operator.list_campaigns() if not _has_ended(campaign)}
            if not left:
                return
            assert time.monotonic() < deadline, f"still open: {left}"
            if time.monotonic() > deadline - timeout_s + cancel_after_s:
                for campaign_id in left:
                    operator.cancel_campaign(campaign_id, reason="the test is over")
            time.sleep(0.1)


def _has_ended(campaign: Campaign) -> bool:
    return all(is_final(from_wire(job.state)) for job in campaign.jobs)
