"""Around one test that uses the bench: begin and end its CAN log, prove the bench healthy, keep the evidence.

After a test, health comes first, because its traffic belongs to the evidence; then the files are written; then follows the verdict.
A bench that is not healthy is an error of the test that left it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from otabench.bench.errors import BenchError
from otabench.bench.pytest_plugin import health
from otabench.bench.pytest_plugin.can_log import CanLog
from otabench.bench.pytest_plugin.counters import Counters
from otabench.bench.pytest_plugin.items import FAILED, folder_name
from otabench.bench.pytest_plugin.run import BenchRun
from otabench.bench.pytest_plugin.shared_bench import SharedBench
from otabench.bench.uds.errors import FlashError


@contextmanager
def around(run: BenchRun, request: pytest.FixtureRequest) -> Iterator[None]:
    """One test on a bench that is up."""
    bench = run.bench
    assert bench is not None
    node: pytest.Item = request.node
    run.can_log = _begin(bench, node.nodeid)
    before = health.read_counters(bench)
    yield
    sick = _sickness(run, bench, node, before)
    log, run.can_log = run.can_log, None
    if log is not None and (sick or run.keep_can_log or node.stash.get(FAILED, False)):
        log.write()
    with suppress(OSError):  # it holds something, or was never made
        _folder(bench, node.nodeid).rmdir()
    if sick:
        pytest.fail(sick, pytrace=False)


def _begin(bench: SharedBench, nodeid: str) -> CanLog:
    return CanLog(
        captures={bus: bench.folder.can / f"{bus}.log" for bus in bench.topology.buses},
        channels={
            bus: str(entry.channel) if entry.interface == "socketcan" else bus
            for bus, entry in bench.topology.buses.items()
        },
        folder=_folder(bench, nodeid),
    )


def _folder(bench: SharedBench, nodeid: str) -> Path:
    return bench.folder.root / "tests" / folder_name(nodeid)


def _sickness(run: BenchRun, bench: SharedBench, node: pytest.Item, before: dict[str, Counters]) -> str:
    """Return what is wrong with the bench after the test; empty if nothing is, or if the test has already reported it."""
    if bench.broken:
        run.give_up(bench.broken, test=node.nodeid)
        return ""
    try:
        finding = health.after_test(
            bench, before=before, is_destructive=node.get_closest_marker("destructive") is not None
        )
    except (BenchError, FlashError, OSError) as error:
        run.give_up(str(error), test=node.nodeid)
        return f"the bench is not healthy after this test: {error}\nthe remaining bench tests are skipped"
    if finding is None:
        return ""
    if not finding.recovered:
        run.give_up(finding.problems[0], test=node.nodeid)
    return finding.text()
