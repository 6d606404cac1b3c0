"""What keeps a bench going between tests: missing processes, open jobs, the gateway's reading, ECUs as they were delivered.

These are functions on a running ``Bench``. ``shared_bench`` builds its states from them, ``health`` what is tidied after a test.
"""

from __future__ import annotations

import json
import time
from typing import Final

from otabench.bench.clients.job_watch import TraceTail
from otabench.bench.deadline import Deadline
from otabench.bench.errors import BenchError, EndpointError
from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.specs.names import CAPTURES, CLOUD_CONTROL, GATEWAY, ecu_process
from otabench.proto.job_states import from_wire, is_final

_JOB_ENDS_S: Final = 60.0
_GATEWAY_READS_S: Final = 20.0
_CANCEL_AFTER_S: Final = 0.5
_POLL_INTERVAL_S: Final = 0.1


def start_missing(bench: Bench) -> None:
    """Start what a test stopped or killed, except captures: a new one would overwrite the files.

    Raises:
        ProcessFailed: a process does not come up.
    """
    missing = [
        name
        for name in bench.processes.names
        if not name.startswith(CAPTURES) and not bench.processes.is_running(name) and name not in bench.options.absent
    ]
    for name in sorted(missing, key=lambda name: name == GATEWAY):  # the gateway last: it uses all the others
        since_ns = time.monotonic_ns()
        bench.processes.start(name)
        if name == GATEWAY:
            await_gateway_reading(bench, since_ns=since_ns)


def await_gateway_reading(bench: Bench, *, since_ns: int) -> None:
    """Wait until the gateway has read all ECUs after that moment (monotonic clock); it sends them nothing more until the next job.

    Raises:
        BenchError: it has not read them in time.
    """
    deadline = Deadline(_GATEWAY_READS_S)
    missing = set(bench.topology.ecus)
    tail = TraceTail(bench.folder.trace)
    while missing:
        for event in tail.new_events():
            if event.event == "ecu.identity" and event.component == "gateway" and event.mono_ns >= since_ns:
                missing.discard(event.ecu or "")
        job = bench.jobs.current()
        if job is not None and not job.ended:
            return  # the gateway continues that job, and reads the ECUs at its end
        bench.processes.check()
        if deadline.has_passed():
            raise BenchError(
                f"the gateway has not read {', '.join(sorted(missing))} within {_GATEWAY_READS_S:.0f} s; "
                f"see {bench.folder.log(GATEWAY)}"
            )
        deadline.pause(_POLL_INTERVAL_S)


def close_jobs(bench: Bench) -> None:
    """Wait until no job of this vehicle is open, and cancel those that do not end soon.

    Raises:
        BenchError: a job stays open.
    """
    if not bench.processes.is_running(CLOUD_CONTROL):
        return
    if bench.jobs.campaign is None and bench.jobs.current() is None:  # the operator's client is slow to import
        return
    started = time.monotonic()
    while True:
        left = [
            campaign.campaign_id
            for campaign in bench.operator.list_campaigns()
            if not all(is_final(from_wire(job.state)) for job in campaign.jobs)
        ]
        if not left:
            return
        waited_s = time.monotonic() - started
        if waited_s > _JOB_ENDS_S:
            raise BenchError(f"campaign {', '.join(left)} is still open {waited_s:.0f} s after the test")
        if waited_s > _CANCEL_AFTER_S:
            _cancel(bench, left)
        time.sleep(_POLL_INTERVAL_S)


def _cancel(bench: Bench, campaigns: list[str]) -> None:
    for campaign in campaigns:
        try:
            bench.operator.cancel_campaign(campaign, reason="the test is over")
        except EndpointError:
            continue  # it is past the point where it can be canceled, and ends by itself


def restore_factory(bench: Bench, ecu: str) -> None:
    """Bring a simulated ECU back to how it was delivered, with a new flash.

    Raises:
        BenchError: the ECU is a board, or it does not come up.
    """
    process = ecu_process(ecu)
    if ecu not in bench.topology.simulated():
        raise BenchError(f"{ecu} is a real board: bring its first firmware back with its programmer")
    bench.processes.stop(process)
    config = json.loads(bench.folder.config(process).read_text(encoding="utf-8"))
    (bench.folder.root / config["state_file"]).unlink(missing_ok=True)
    bench.processes.start(process)
