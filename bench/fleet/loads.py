"""The load processes of one phase: started together, each with its share of the vehicles."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from otabench.bench.deadline import Deadline, wait_until
from otabench.bench.errors import WaitTimeout
from otabench.bench.fleet.load import READY, Order, Result
from otabench.bench.launcher import readiness
from otabench.bench.launcher.process import PYTHON, Process, ProcessSpec, stop_all

_GRACE_S: Final = 60.0
"""After the end of a phase's time: the load processes end by themselves."""
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class _Load:
    process: Process
    result: Path

    def runs_or_ended(self) -> bool:
        """Return whether its vehicles run, or the process has ended."""
        log = self.process.spec.log
        return not self.process.running or (log.exists() and READY in log.read_text(errors="replace"))


def run_loads(
    orders: Sequence[Order], *, folder: Path, name: str, meanwhile: Callable[[], None] = lambda: None
) -> list[Result]:
    """Carry out orders at the same time, and return their results.

    Args:
        orders: one for each process.
        folder: where orders, results and logs go.
        name: of the phase, for the names of the files.
        meanwhile: called once the vehicles run, and again and again until they have ended.

    Raises:
        ProcessFailed: a load process has failed.
        WaitTimeout: one did not end in time.
    """
    loads = [_load(order, folder=folder, name=f"{name}-{number}") for number, order in enumerate(orders)]
    processes = [each.process for each in loads]
    try:
        for process in processes:
            process.start()
        # Not ``wait_ready``: a short phase may be over before the first look at it, which is not a failure here.
        limit_s = readiness.limit_s(len(processes))
        if not wait_until(lambda: all(each.runs_or_ended() for each in loads), timeout_s=limit_s):
            raise processes[0].failure(f"did not come up within {limit_s:.0f} s")
        deadline = Deadline(max(order.seconds for order in orders) + _GRACE_S)
        while any(process.running for process in processes):
            meanwhile()
            if deadline.has_passed():
                raise WaitTimeout(f"{name}: the load processes did not end within {orders[0].seconds:.0f} s")
            deadline.pause(_POLL_S)
        for process in processes:
            if process.exit_status:
                raise process.failure(f"ended with status {process.exit_status}")
    finally:
        stop_all(processes)
    return [Result.read(each.result) for each in loads]


def _load(order: Order, *, folder: Path, name: str) -> _Load:
    work = folder / "loads"
    work.mkdir(exist_ok=True)
    order_file, result, log = (work / f"{name}.{end}" for end in ("order.json", "result.json", "log"))
    order_file.write_text(json.dumps(asdict(order)), encoding="utf-8")
    spec = ProcessSpec(
        name=f"load-{name}",
        argv=[*PYTHON, "otabench.bench.fleet.load", str(order_file), str(result)],
        log=log,
        ready=result.exists,
        ends_itself=True,
    )
    return _Load(Process(spec), result)
