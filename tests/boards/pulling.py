"""Interrupts the bus in the middle of an update, at a named point, and brings it back: the adapter is pulled, or the bus goes off.

``setup/with-can python -m tests.boards.pulling`` does so at all of these points and prints how each update ended; the tests use some.
``--bus-off``: the wires are shorted, mended after a second, and the interface set up again, as a user would. ``--python-can``: by
python-can's slcan interface on the terminal, with ISO-TP in user space. A point is the moment an event of the trace is seen, so it is
met within milliseconds and never by a clock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otabench.bench.clients.job_watch import JobView, TraceTail
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.uds.transport.errors import BUS_FAULTS
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceEvent
from tests.boards.rig import Rig
from tests.boards.wiring import Wiring
from tests.e2e.living_bench import VERSIONS, LivingBench, quick_options

SIZE_BYTES: Final = 24 * 1024
BY_PYTHON_SIZE_BYTES: Final = 10 * 1024
"""python-can reads its serial port byte by byte."""
SLOW_ECU: Final = {"boot_s": 0.3, "security_delay_s": 1.0, "program_page_s": 0.006, "erase_sector_s": 0.05}
OUT_S: Final = 1.0
_PATIENCE_S: Final = 180.0
FAULT_NAMES: Final = tuple(fault.__name__ for fault in BUS_FAULTS)


@dataclass(frozen=True)
class Point:
    """When the bus is interrupted. ``count``: the number of the event, from 1."""

    name: str
    matches: Callable[[TraceEvent], bool]
    count: int = 1
    comes_back: bool = True


def exchange(request: str) -> Callable[[TraceEvent], bool]:
    """UDS exchanges whose request begins with these bytes, and that were answered."""
    return lambda event: (
        event.event == "uds.exchange"
        and str(event.data["request"]).startswith(request)
        and bool(event.data["response"])
    )


def state(wanted: JobState) -> Callable[[TraceEvent], bool]:
    """Let the gateway bring a job to that state."""
    return lambda event: event.event == "job.state" and event.component == "gateway" and event.data.get("to") == wanted


POINTS: Final = (
    Point("while the driver is asked", state(JobState.WAITING_FOR_APPROVAL)),
    Point("as INSTALLING begins", state(JobState.INSTALLING)),
    Point("in the programming session", exchange("1002")),
    Point("after the erase", exchange("3101ff00")),
    Point("after the first block", exchange("3601")),
    Point("in the middle of the image", exchange("36"), count=6),
    Point("after check memory", exchange("31010202")),
    Point("as ACTIVATING begins", state(JobState.ACTIVATING)),
    Point("after the reset", exchange("1101")),
    Point("as VERIFYING begins", state(JobState.VERIFYING)),
    Point("while the trials soak", lambda event: event.event == "ecu.phase" and event.data["phase"] == "soaking"),
    Point("in the middle of the image, for good", exchange("36"), count=6, comes_back=False),
)


@contextmanager
def pulled_bench(folder: Path, *, updates: int, by_slcand: bool = True) -> Iterator[tuple[Rig, LivingBench]]:
    """Both ECUs are boards on one adapter, slow enough to be interrupted; firmware for so many updates."""
    size_bytes = SIZE_BYTES if by_slcand else BY_PYTHON_SIZE_BYTES
    with Rig(
        folder, boards=("engine", "adas"), size_bytes=size_bytes, ecu_timing=SLOW_ECU, by_slcand=by_slcand
    ) as boards:
        options = quick_options(
            folder / "runs",
            versions=VERSIONS[: updates + 1],
            image_size_bytes=size_bytes,
            bench_file=boards.bench_file,
            capture=True,
        )
        with Bench.bring_up(options) as bench:
            yield boards, LivingBench(bench)


@dataclass(frozen=True)
class Outcome:
    """How the update ended, and the names of the faults that the trace has for it."""

    job: JobView
    faults: tuple[str, ...]
    duration_s: float
    version: str
    """The one that was offered."""


@dataclass(frozen=True)
class Trouble:
    """What happens to the bus, and what brings it back."""

    begin: Callable[[Rig], None]
    end: Callable[[Rig], None]


def _mend(boards: Rig) -> None:
    boards.rewire(Wiring.HEALTHY)
    boards.set_up()


PULLED: Final = Trouble(lambda boards: boards.pull(), lambda boards: boards.plug())
BUS_OFF: Final = Trouble(lambda boards: boards.rewire(Wiring.SHORT), _mend)


def update_with(trouble: Trouble, boards: Rig, living: LivingBench, point: Point) -> Outcome:
    """Return one update with that trouble at that point, which ends after ``OUT_S`` (or after the job's end)."""
    tail = TraceTail(living.bench.folder.trace)
    tail.new_events()
    started, offered = time.monotonic(), living.next_version
    job_id = living.start_campaign(transfer=TransferPolicy.FULL)
    _await(tail, POINTS[0], job_id, living.bench.jobs.current)
    if point is POINTS[0]:
        trouble.begin(boards)
        time.sleep(OUT_S)  # how long the bus is away, not a wait for something
        trouble.end(boards)
        living.bench.jobs.decide("install")
    else:
        living.bench.jobs.decide("install")
        _await(tail, point, job_id, living.bench.jobs.current)
        trouble.begin(boards)
        if point.comes_back:
            time.sleep(OUT_S)
            trouble.end(boards)
    job = living.bench.jobs.wait_for_end(timeout_s=_PATIENCE_S)
    duration_s = time.monotonic() - started
    if not point.comes_back:
        trouble.end(boards)
    problems = {str(event.data.get("problem")) for event in living.events(job_id, ["uds.exchange"])}
    return Outcome(job, tuple(sorted(problems & set(FAULT_NAMES))), duration_s, offered)


def _await(tail: TraceTail, point: Point, job_id: str, where: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    left = point.count
    while left:
        left -= min(left, sum(1 for event in tail.new_events() if event.job_id == job_id and point.matches(event)))
        assert time.monotonic() < deadline, f"never came to: {point.name}; {job_id} is {where()}"
        time.sleep(0.002)


def main() -> int:
    """Print one line a point. Exit status 1 where the vehicle did not end on one confirmed version."""
    parser = argparse.ArgumentParser(prog="python -m tests.boards.pulling", description="Interrupts updates.")
    parser.add_argument("--bus-off", action="store_true", help="the bus goes off, instead of the adapter being pulled")
    parser.add_argument("--python-can", action="store_true", help="python-can's slcan interface, instead of slcand's")
    chosen = parser.parse_args()
    if chosen.bus_off and chosen.python_can:
        parser.error("python-can's slcan interface knows no bus-off: it does not read the adapter's states")
    trouble = BUS_OFF if chosen.bus_off else PULLED
    status = 0
    with (
        tempfile.TemporaryDirectory(prefix="otabench-pull-") as work,
        pulled_bench(Path(work), updates=len(POINTS), by_slcand=not chosen.python_can) as (boards, living),
    ):
        for point in POINTS:
            outcome = update_with(trouble, boards, living, point)
            try:
                living.heal()
                runs = f"vehicle on confirmed {living.version}"
            except AssertionError as error:
                runs, status = f"NOT HEALTHY: {error}", 1
            reason = f" ({outcome.job.reason})" if outcome.job.reason else ""
            faults = ", ".join(outcome.faults) or "no fault seen"
            print(
                f"{point.name}: {outcome.job.state} in {outcome.duration_s:.1f} s; {faults}; {runs}{reason}", flush=True
            )
    return status


if __name__ == "__main__":
    sys.exit(main())
