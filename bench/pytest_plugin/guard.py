"""Around one test that uses the bench: begin and end its evidence, tidy the bench, prove it healthy.

After a test, health comes first, because its traffic belongs to the evidence; then the files are written; then follows the verdict.
A bench that is not healthy is an error of the test that left it so.

A run that is interrupted ends here without a verdict: nobody waits for a power cycle after Ctrl-C, and an error at this point would
replace pytest's own ending by a traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from otabench.bench.errors import BenchError
from otabench.bench.launcher.specs.names import GATEWAY, ecu_process
from otabench.bench.pytest_plugin import health
from otabench.bench.pytest_plugin.can_log import CanLog
from otabench.bench.pytest_plugin.counters import Counters
from otabench.bench.pytest_plugin.evidence import Evidence, TroubleCodes
from otabench.bench.pytest_plugin.items import FAILED, evidence_folder
from otabench.bench.pytest_plugin.run import BenchRun
from otabench.bench.pytest_plugin.shared_bench import SharedBench
from otabench.bench.uds.errors import FlashError


@contextmanager
def around(run: BenchRun, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run one test on a bench that is up."""
    bench = run.bench
    assert bench is not None
    node: pytest.Item = request.node
    begun = _begin(bench, node.nodeid)
    run.can_log = begun.can_log
    before = health.read_counters(bench)
    yield
    run.can_log = None
    if run.is_ending:
        return
    is_wanted = run.keep_can_log or node.stash.get(FAILED, False)
    sick, trouble_codes = _verdict(run, bench, node, before, reads_codes=is_wanted)
    if sick or is_wanted:
        begun.write(trouble_codes)
    with suppress(OSError):  # it holds something, or was never made
        begun.folder.rmdir()
    if sick:
        pytest.fail(sick, pytrace=False)


def _begin(bench: SharedBench, nodeid: str) -> Evidence:
    folder = evidence_folder(bench.folder.root, nodeid)
    can_log = CanLog(
        captures={bus: bench.folder.can / f"{bus}.log" for bus in bench.topology.buses},
        channels={
            bus: str(entry.channel) if entry.interface == "socketcan" else bus
            for bus, entry in bench.topology.buses.items()
        },
        folder=folder,
    )
    processes = [GATEWAY, *map(ecu_process, bench.topology.simulated())]
    logs = [bench.folder.log(name) for name in processes]
    return Evidence.begin(folder, can_log=can_log, trace=bench.folder.trace, logs=logs)


def _verdict(
    run: BenchRun, bench: SharedBench, node: pytest.Item, before: dict[str, Counters], *, reads_codes: bool
) -> tuple[str, TroubleCodes]:
    """Tidy the bench; return what is wrong with it, and the trouble codes.

    The text is empty if nothing is wrong, or if the test has already reported it.
    """
    if bench.broken:
        run.give_up(bench.broken, test=node.nodeid)
        return "", health.read_trouble_codes(bench) if reads_codes else {}
    try:
        after = health.after_test(
            bench,
            before=before,
            is_destructive=node.get_closest_marker("destructive") is not None,
            reads_codes=reads_codes,
        )
    except (BenchError, FlashError, OSError) as error:
        run.give_up(str(error), test=node.nodeid)
        return f"the bench is not healthy after this test: {error}\nthe remaining bench tests are skipped", {}
    if after.sickness is None:
        return "", after.trouble_codes
    if not after.sickness.recovered:
        run.give_up(after.sickness.problems[0], test=node.nodeid)
    return after.sickness.text(), after.trouble_codes
