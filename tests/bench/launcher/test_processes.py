"""Names of processes: one that does not exist, one that was not started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otabench.bench.errors import UnknownName, WrongUsage
from otabench.bench.launcher.process import ProcessSpec
from otabench.bench.launcher.processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    declared = Processes()
    declared.declare("gateway", lambda: ProcessSpec("gateway", ["true"], tmp_path / "gateway.log", ready=lambda: True))
    return declared


@pytest.mark.parametrize("use", [Processes.get, Processes.start, Processes.stop, Processes.kill, Processes.wait_exit])
def test_a_process_that_does_not_exist_is_answered_with_the_nearest(
    processes: Processes, use: Callable[[Processes, str], object]
) -> None:
    with pytest.raises(UnknownName, match="there is no process 'gatway' in this bench; did you mean 'gateway'"):
        use(processes, "gatway")


def test_a_process_that_was_not_started_is_told_apart_from_one_that_does_not_exist(processes: Processes) -> None:
    with pytest.raises(WrongUsage, match="gateway was not started") as refusal:
        processes.get("gateway")
    assert not isinstance(refusal.value, UnknownName)
