"""``otabench bench run`` and ``otabench up``: the same bench, once with consent given by itself and a report, once left running.

A run ends with the exit status of its report's verdict, or with 1 if the bench itself could not go on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer
from rich.console import Console

from otabench.bench.bus import rights
from otabench.bench.cli import other_terminal
from otabench.bench.cli.image_arguments import parse_images
from otabench.bench.cli.options import MAX_WAIT_S, BenchArguments, parse_conditions, with_options
from otabench.bench.cli.progress import follow
from otabench.bench.cli.runs import tidied_runs
from otabench.bench.clients.job_watch import JobView
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, EndpointError, UnknownName
from otabench.bench.faults.control_port import Fault
from otabench.bench.launcher import fork_server, lock, phases
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.report import figures, of_bench
from otabench.bench.report import text as report_view
from otabench.bench.report.of_bench import Reporter
from otabench.bench.topology import bench_file as topology
from otabench.proto import job_states
from otabench.proto.job_states import JobState

CAMPAIGN_NAME: Final = "Autumn release"
RELEASE_NOTES: Final = "Made by the bench: all control units get version {version}, and nothing else changes."
"""Holds for every bench file. Notes on engines or cameras would be those of another vehicle."""
_CONSENT_TIMEOUT_S: Final = 120.0
_CLOUD_CATCHES_UP_S: Final = 5.0
_POLL_INTERVAL_S: Final = 0.5


@with_options
def run(
    arguments: BenchArguments,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=1, max=MAX_WAIT_S, help="Limit for the whole job.")
    ] = 600.0,
) -> None:
    """Update all ECUs by a signed campaign, and report.

    The bench itself gives the driver's consent. Exit status: 0 every ECU runs the confirmed new version; 3 rolled back;
    4 failed; 5 rejected; 6 canceled or timed out; 1 the bench could not run; 2 wrong usage or bench file.
    """
    rights.drop_to_invoking_user()  # first: the fork server has the rights of the process that it is a fork of
    options = options_from(arguments)
    options = replace(options, topology=topology.load(options.bench_file))  # what is wrong starts nothing
    # This command imports most of what the bench's processes need. Before the lock: a fork would hold it, too.
    fork_server.shared(is_fork=True)
    console = _console()
    with (
        _terminated_as_interrupt(),
        _lock_held(options, console, wait_s=arguments.bench_wait) as taken,
        tidied_runs(arguments.runs_dir, keep=arguments.keep),
    ):
        raise typer.Exit(_run(taken, console, timeout_s=timeout))


@with_options
def up(
    arguments: BenchArguments,
    frame_gate: Annotated[
        bool,
        typer.Option("--frame-gate", help="Put the ECUs behind a frame gate, for `otabench fault bus drop every=50`."),
    ] = False,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="ECU=FILE",
            help="What the campaign offers, made by `firmware pack`; repeatable. Default: firmware that the bench generates, for all ECUs.",
        ),
    ] = None,
) -> None:
    """Keep a bench running, with a campaign on offer.

    The driver's page asks for consent. Ctrl-C stops everything.
    """
    rights.drop_to_invoking_user()
    with tidied_runs(arguments.runs_dir, keep=arguments.keep):
        options = replace(options_from(arguments), frame_gate=frame_gate)
        keep_up(options, wait_s=arguments.bench_wait, images=parse_images(image or []))


def options_from(arguments: BenchArguments) -> BenchOptions:
    """Return the bench options for the command-line arguments.

    Raises:
        WrongUsage: a fault that cannot be read.
    """
    texts = [text for given in arguments.fault or () for text in given.split(",") if text]
    return BenchOptions(
        bench_file=arguments.bench,
        runs_dir=arguments.runs_dir,
        hmi_port=arguments.hmi_port,
        pace=not arguments.no_pace,
        transfer=arguments.transfer,
        encrypt=arguments.encrypt,
        faults=tuple(Fault.parse(text) for text in texts),
        conditions=parse_conditions(arguments.condition),
        keep_keys=arguments.keep_keys,
        place_wait_s=arguments.bench_wait,
        ready_timeout_s=arguments.ready_timeout,
    )


def _run(options: BenchOptions, console: Console, *, timeout_s: float) -> int:
    before_s = phases.seconds_since_command()
    started_s = time.monotonic()
    with Bench.bring_up(options, say=lambda line: _say(console, line)) as bench:
        reporter = of_bench.Reporter(bench, started_s=started_s)
        with reporter.left_if_interrupted():
            job, notes = _update(bench, console, timeout_s=timeout_s)
            with bench.phases.measure("ECUs and captures read"):
                notes += _cloud_notes(bench, job)
                made = reporter.make(job, target_version=options.versions[-1], notes=notes)
        overhead = [("guest and this program started", before_s)] if before_s is not None else []
        overhead += bench.phases.seconds.items()
        made = replace(made, overhead=tuple(overhead))
        of_bench.write(made, bench)
        console.print(report_view.render(made), soft_wrap=True)
    if made.exit_status == figures.BENCH_FAILED:
        raise BenchError("; ".join([*notes, made.reason]) if made.reason not in notes else "; ".join(notes))
    return made.exit_status


def _update(bench: Bench, console: Console, *, timeout_s: float) -> tuple[JobView | None, list[str]]:
    """Run one update, and return its job and what went wrong with the bench meanwhile."""
    with bench.phases.measure("campaign created"):
        notes_for_driver = RELEASE_NOTES.format(version=bench.options.versions[-1])
        bench.jobs.start_campaign(name=CAMPAIGN_NAME, release_notes=notes_for_driver)
    try:
        bench.jobs.wait_for([JobState.WAITING_FOR_APPROVAL, *job_states.FINAL_STATES], timeout_s=_CONSENT_TIMEOUT_S)
        job = bench.jobs.current()
        if job is not None and job.state is JobState.WAITING_FOR_APPROVAL:
            _say(console, "consent: given by the bench, on the driver's page")
            bench.jobs.decide("install")
        return follow(bench, console, timeout_s=timeout_s), []
    except BenchError as error:
        return bench.jobs.current(), [str(error)]


def keep_up(options: BenchOptions, *, wait_s: float = 0.0, images: Mapping[str, Path] | None = None) -> None:
    """Keep a bench up until Ctrl-C.

    Args:
        wait_s: how long to wait for a bench that another run uses.
        images: what the campaign offers, by ECU; none: generated firmware for all ECUs.

    Raises:
        BenchError: the bench could not run, or one of its processes died.
    """
    console = _console()
    _require_images(options, images or {})
    with _terminated_as_interrupt():
        try:
            with (
                _lock_held(options, console, wait_s=wait_s) as taken,
                Bench.bring_up(taken, say=lambda line: _say(console, line)) as bench,
            ):
                reporter = of_bench.Reporter(bench)
                bench.jobs.start_campaign(
                    name=CAMPAIGN_NAME,
                    release_notes="" if images else RELEASE_NOTES.format(version=taken.versions[-1]),
                    images=images,
                    ecus=images.keys() if images else None,
                )
                page = other_terminal.page_line(bench.hmi.link, bench.setup.ports.hmi)
                console.print(f"\n[bold]HMI[/]      {page}", soft_wrap=True)
                way = other_terminal.of_this_process(bench.folder.root)
                for line in other_terminal.lines(way, channels=bench.channels()):
                    _say(console, line)
                _say(console, f"files    {of_bench.short(bench.folder.root)}\nCtrl-C stops everything.\n")
                _stay_and_report(bench, console, reporter)
        except KeyboardInterrupt:
            console.print("stopped")


def _require_images(options: BenchOptions, images: Mapping[str, Path]) -> None:
    """Read the files before anything is started.

    Raises:
        BenchError: an ECU is not in the bench file, or a file is not for it.
    """
    if not images:
        return
    from otabench.bench.clients import campaign_images  # grpc is slow to import

    ecus = (options.topology or topology.load(options.bench_file)).ecus
    for ecu, path in images.items():
        if ecu not in ecus:
            raise UnknownName("ECU", ecu, ecus, where="in the bench file")
        campaign_images.load(path, hardware_id=ecus[ecu].hardware_id)


@contextmanager
def _lock_held(options: BenchOptions, console: Console, *, wait_s: float) -> Iterator[BenchOptions]:
    """Hold the bench's lock. Yield the options with the topology from the bench file."""
    found = options.topology or topology.load(options.bench_file)
    name = str(options.bench_file or topology.DEFAULT_NAME)
    buses = lock.buses_of(found)
    with lock.held(buses, bench=name, wait_s=wait_s, say=lambda line: _say(console, line)):
        yield replace(options, topology=found)


def _stay_and_report(bench: Bench, console: Console, reporter: Reporter) -> None:
    """Keep the bench up until Ctrl-C, or until a process dies; leave a report of the last job either way."""
    notes: list[str] = []
    try:
        _stay(bench, console)
    except BenchError as error:
        notes.append(str(error))
        raise
    finally:
        try:
            reporter.leave(bench.jobs.current(), notes=notes)
            console.print(f"report   {of_bench.short(bench.folder.report_html)}")
        except BenchError as error:
            _say(console, f"no report: {error}")


def _stay(bench: Bench, console: Console) -> None:
    shown: tuple[str, str] | None = None
    while True:
        bench.processes.check()
        job = bench.jobs.current()
        if job is not None and (job.job_id, str(job.state)) != shown:
            shown = (job.job_id, str(job.state))
            _say(console, f"job {job.job_id}: {job.state}{f' ({job.reason})' if job.reason else ''}")
        time.sleep(_POLL_INTERVAL_S)


def _cloud_notes(bench: Bench, job: JobView | None) -> list[str]:
    """Wait until the cloud has the job's state. Return a note with the cloud's state if it still differs."""
    if job is None or bench.jobs.campaign is None:
        return []
    deadline = Deadline(_CLOUD_CATCHES_UP_S)
    seen = ""
    while True:
        try:
            campaign = bench.operator.get_campaign(bench.jobs.campaign.campaign_id)
            seen = str(job_states.from_wire(campaign.jobs[0].state))
        except (EndpointError, ValueError) as error:
            seen = f"unknown: {error}"
        if seen == job.state:
            return []
        if deadline.has_passed():
            return [f"the cloud has the job as {seen}"]
        deadline.pause(0.1)


def _console() -> Console:
    """Return a console on the terminal; if there is none, one as wide as report.txt."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=report_view.WIDTH)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP stop the bench and all its processes, as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
