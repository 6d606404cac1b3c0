"""pytest-xdist: several workers, one bench. Loaded with every pytest run, so it imports nothing heavy.

The workers of one run share a machine, and so a bench. Whatever ``--dist`` is, each worker may receive bench tests. The bench goes
from worker to worker: the first that needs it brings it up and keeps it until its last test; another waits before its first bench
test, for as long as that takes. The waiting ends: xdist gives a worker that waits no more than its share, and ends the others when
nothing is left for them. If a worker dies, the kernel releases its lock. A worker whose bus is another one (in another kernel) has a
lock of its own, and does not wait.

Grouping by ``--dist loadgroup`` is a help where it works (all bench tests on one worker), and not needed: pytest-xdist 3.8 does not
group on pytest 9.2.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from otabench.bench.pytest_plugin.items import RUN, uses_bench
from otabench.bench.pytest_plugin.junit import add_properties
from otabench.bench.pytest_plugin.roles import OUTPUT_KEY, is_worker


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of pytest-timeout, which must not count the waiting
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if uses_bench(item) and is_worker(item.session):
        item.config.stash[RUN].wait_for_turn()
    return (yield)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_make_scheduler() -> Generator[None, Any, Any]:
    """Keep a run from hanging whose worker died under ``--dist loadscope``, ``loadfile`` or ``loadgroup``."""
    scheduler = yield
    from xdist.scheduler import LoadScopeScheduling

    if isinstance(scheduler, LoadScopeScheduling):
        survive_dead_workers(scheduler)
    return scheduler


def survive_dead_workers(scheduler: Any) -> None:
    """Mend two faults of pytest-xdist 3.8, each of which leaves workers waiting for ever.

    A worker runs a test only once it has the next one, or hears that none is left.

    * The worker that replaces a dead one receives a single unit of work, which may be a single test. ``schedule`` may be called again
      at any time, and then gives the next unit, or the word that there is none.
    * A dead worker's units go back into the queue, the finished ones too. A worker that receives a finished one has no next test.
    """
    schedule, remove_node = scheduler.schedule, scheduler.remove_node

    def schedule_twice() -> None:
        is_first = scheduler.collection is None  # the first call distributes enough by itself
        schedule()
        if not is_first:
            schedule()

    def remove_without_finished(node: Any) -> Any:
        units = scheduler.assigned_work.get(node, {})
        for scope in [scope for scope, unit in units.items() if all(unit.values())]:
            del units[scope]
        return remove_node(node)

    scheduler.schedule, scheduler.remove_node = schedule_twice, remove_without_finished


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Put a worker's properties into the JUnit file, which only the controller writes. A worker that died has sent none."""
    add_properties(node.config, getattr(node, "workeroutput", {}).get(OUTPUT_KEY, {}))
