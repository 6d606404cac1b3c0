"""The report of a bench that is up: made at the end of `otabench bench run`, of `otabench up`, and of a pytest run.

    reporter = Reporter(bench)      # once the bench is up
    …
    made = reporter.leave(job)      # before it is stopped: report.json, report.txt, report.html

A report is about one job, the last one. A run without a campaign has a report too: its ECUs, its buses, its files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from otabench.bench.bus import pacing
from otabench.bench.bus.canline import LineCounters
from otabench.bench.captures.statistics import BusStatistics
from otabench.bench.clients.job_watch import JobView, TraceTail
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError
from otabench.bench.launcher.bench import Bench
from otabench.bench.report import build, figures, index
from otabench.bench.report import text as report_view
from otabench.bench.report.figures import EcuReport, Report, TransferReport
from otabench.bench.topology.model import Topology
from otabench.bench.uds import flash_profiles
from otabench.bench.uds.profile import Profile
from otabench.proto.trace import TraceEvent

DTC_READ_TIMEOUT_S: Final = 4.0
"""How long to wait for the gateway's last reading of the ECUs. If an ECU is silent, the bench waits this long."""
_POLL_INTERVAL_S: Final = 0.1


class Reporter:
    """The maker of one bench's report. It collects from its construction on.

    Args:
        bench: is up.
        started_s: on the monotonic clock; None: now.
    """

    def __init__(self, bench: Bench, *, started_s: float | None = None) -> None:
        self._bench = bench
        self._started_s = time.monotonic() if started_s is None else started_s
        self._before = _ecu_states(bench.ecus.states())

    def make(
        self,
        job: JobView | None,
        *,
        target_version: str | None = None,
        notes: Sequence[str] = (),
        dtc_timeout_s: float = DTC_READ_TIMEOUT_S,
    ) -> Report:
        """Return the report of a job, the last campaign's. Ends the captures, whose files it needs.

        Args:
            job: None: the gateway had none.
            target_version: what all ECUs must run for the job to count as succeeded; None: not known, as campaigns were made by
                others (another terminal, tests).
            notes: what else went wrong.
            dtc_timeout_s: how long to wait until the gateway has read the ECUs after the job.
        """
        bench = self._bench
        # What the ECUs reported before the job's end may be of the version before.
        since_ns = job.changed_ns if job else 0
        after = _ecu_states(bench.ecus.settled_states(since_ns=since_ns))
        events, dtcs, lines = _end_captures(bench, since_ns=since_ns, timeout_s=dtc_timeout_s if job else 0.0)
        statistics = figures.read_statistics(bench.folder.can, list(bench.topology.buses))
        result, exit_status, reason = self._verdict(job, after, target_version)
        # No event has an empty job id, so all figures of the job are empty then.
        job_id = job.job_id if job else ""
        return Report(
            result=result,
            exit_status=exit_status,
            reason=reason,
            vin=bench.topology.vehicle.vin,
            job_id=job_id,
            campaign_id=bench.jobs.campaign.campaign_id if bench.jobs.campaign else "",
            target_version=target_version or ", ".join(sorted({state.version for state in after.values()})),
            transfer_policy=f"{bench.options.transfer}{', encrypted' if bench.options.encrypt else ''}",
            kernel_can=bench.kernel_can,
            faults=tuple(str(fault) for fault in bench.options.faults),
            duration_s=time.monotonic() - self._started_s,
            phases=figures.phases(events, job_id),
            before=self._before,
            after=after,
            transfers=self._transfers(events, job_id, statistics, sizes=_image_sizes(bench, target_version, after)),
            buses=figures.bus_reports(bench.topology, statistics, bench.pacings, lines=lines),
            files=_files(bench),
            notes=tuple(notes),
            ecus=figures.ecus_on_buses(bench.topology),
            dtcs=dtcs,
        )

    def leave(self, job: JobView | None, *, notes: Sequence[str] = (), dtc_timeout_s: float = 0.0) -> Report:
        """Make the report and write it into the run's folder. Takes the arguments of ``make``.

        Raises:
            BenchError: it cannot be written.
        """
        made = self.make(job, notes=notes, dtc_timeout_s=dtc_timeout_s)
        write(made, self._bench)
        return made

    @contextmanager
    def left_if_interrupted(self) -> Iterator[None]:
        """Leave a report of what was done so far if Ctrl-C or a signal ends what is inside."""
        try:
            yield
        except KeyboardInterrupt:
            self.leave_if_possible()
            raise

    def leave_if_possible(self) -> None:
        """Leave the report of the last job, for a run that is about something else: what keeps it from being made is in its log."""
        try:
            self.leave(self._bench.jobs.current())
        except (BenchError, OSError) as error:
            self._bench.folder.log("report").write_text(f"{error}\n", encoding="utf-8")

    def _transfers(
        self,
        events: Sequence[TraceEvent],
        job_id: str,
        statistics: Mapping[str, BusStatistics],
        *,
        sizes: Mapping[str, int],
    ) -> tuple[TransferReport, ...]:
        return figures.transfers(
            events,
            job_id,
            topology=self._bench.topology,
            statistics=statistics,
            full_image_bytes=sizes,
            pacings=self._bench.pacings,
        )

    def _verdict(self, job: JobView | None, after: Mapping[str, EcuReport], target: str | None) -> tuple[str, int, str]:
        if job is None and self._bench.jobs.campaign is None:
            return figures.NO_CAMPAIGN, 0, "no campaign was made in this run"
        # The versions of an ECU's own order may be other texts than the one that is asked for.
        targets = target and {ecu: made[target].version for ecu, made in self._bench.firmware.items()}
        return figures.verdict(job, after, ecus=list(self._bench.topology.ecus), targets=targets or None)


def write_index_if_possible(runs_dir: Path) -> None:
    """Write the index of all runs (``report.index``), for a run that is about something else."""
    with suppress(BenchError):
        index.write(runs_dir)


def write(made: Report, bench: Bench) -> None:
    """Write report.json, report.txt and report.html.

    Raises:
        BenchError: one cannot be written.
    """
    try:
        bench.folder.report_json.write_text(made.to_json() + "\n", encoding="utf-8")
        bench.folder.report_txt.write_text(report_view.as_text(made), encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"{error.filename}: the report cannot be written: {error.strerror}; is the disk full?"
        ) from error
    build.write_page(bench.folder.root)


def short(path: Path) -> str:
    """Return the path relative to the working directory if it is inside that directory, else unchanged."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _end_captures(
    bench: Bench, *, since_ns: int, timeout_s: float
) -> tuple[list[TraceEvent], dict[str, tuple[str, ...]], dict[str, LineCounters | None]]:
    """Wait until the gateway has read the trouble codes, and end the captures.

    Return the whole trace, the codes by ECU, and the counters of each bus's line.
    """
    tail = TraceTail(bench.folder.trace)
    events = tail.new_events()
    dtcs = _dtcs_after(bench, tail, events, since_ns=since_ns, timeout_s=timeout_s)
    # before the captures end: what they count, the lines must not have counted more of
    lines = {name: pacing.counters(bus) for name, bus in bench.topology.buses.items()}
    bench.processes.stop_captures()
    return events + tail.new_events(), dtcs, lines


def _image_sizes(bench: Bench, target_version: str | None, after: Mapping[str, EcuReport]) -> dict[str, int]:
    """Return the size of the full image of each ECU's target version, else of what it runs, if the bench made it."""
    sizes = {}
    for ecu, made in bench.firmware.items():
        runs = after[ecu].version if ecu in after else ""
        image = made.get(target_version or "") or next((each for each in made.values() if each.version == runs), None)
        if image is not None:
            # Of a program file only what is in it crosses the bus; the file itself is longer, as text.
            segments = image.payload.segments if image.payload is not None else ()
            sizes[ecu] = sum(segment.length for segment in segments) or image.length_bytes
    return sizes


def _files(bench: Bench) -> dict[str, str]:
    return {
        "report": short(bench.folder.report_txt),
        "page": short(bench.folder.report_html),
        "trace": short(bench.folder.trace),
        "capture": short(bench.folder.can),
        "logs": short(bench.folder.root / "logs"),
    }


def _dtcs_after(
    bench: Bench, tail: TraceTail, events: list[TraceEvent], *, since_ns: int, timeout_s: float
) -> dict[str, tuple[str, ...]]:
    """Return the DTCs that the gateway reads after a job. Wait a moment for a silent ECU. New events are added to ``events``."""
    deadline = Deadline(timeout_s)
    expected = have_dtcs_read(bench.topology)
    while True:
        found = figures.dtcs(events, since_ns=since_ns)
        if found.keys() >= expected or deadline.has_passed():
            return found
        deadline.pause(_POLL_INTERVAL_S)
        events += tail.new_events()


def have_dtcs_read(topology: Topology) -> set[str]:
    """Return the ECUs whose trouble codes the gateway reads: those with named steps. A sequence profile has no word for them."""
    return {name for name, ecu in topology.ecus.items() if isinstance(flash_profiles.load(ecu.profile), Profile)}


def _ecu_states(states: Mapping[str, Mapping[str, Any]]) -> dict[str, EcuReport]:
    return {name: EcuReport.from_control_port(answer) for name, answer in states.items()}
