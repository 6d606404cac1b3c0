"""How long a bench that comes up is waited for, and what is said when one of its processes does not."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otabench.bench.cli.app import app
from otabench.bench.errors import ProcessFailed
from otabench.bench.launcher import readiness
from otabench.bench.launcher.process import Process, ProcessSpec, wait_ready
from tests.test_layering import ROOT


def waiting(name: str, ready: Callable[[], bool], awaited: str = "") -> Process:
    """Return a process that is waited for. It is not started: what is judged here is the waiting."""
    return Process(ProcessSpec(name, ["true"], Path("/nowhere") / name, ready, awaited=awaited))


def after(seconds: float) -> Callable[[], bool]:
    at_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= at_s


def test_the_limit_grows_with_the_number_of_processes_unless_it_is_given() -> None:
    limits = [readiness.limit_s(number) for number in (0, 1, 8, 40)]
    assert limits == sorted(set(limits)) and limits[0] >= 30
    assert readiness.limit_s(40, wanted_s=7.0) == 7.0


def test_each_process_that_becomes_ready_extends_the_wait() -> None:
    started = time.monotonic()
    wait_ready([waiting(f"p{number}", after(0.1 * number)) for number in range(1, 7)], timeout_s=0.3)
    assert time.monotonic() - started > 0.5  # longer than the limit, which is for standing still


def test_who_stands_still_is_named_with_what_was_waited_for_and_what_to_do() -> None:
    processes = [
        waiting("gateway", lambda: False, "the driver's page on port 8080 does not answer"),
        waiting("broker", lambda: True),
        waiting("ecu-adas", lambda: False),
    ]
    with pytest.raises(ProcessFailed) as caught:
        wait_ready(processes, timeout_s=0.1)
    text = str(caught.value)
    assert text.startswith(
        "gateway did not come up within 0 s: the driver's page on port 8080 does not answer "
        "(up: broker; not up: gateway, ecu-adas). It wrote nothing. Log: /nowhere/gateway. This machine's load is "
    )
    assert text.endswith(" processors; --ready-timeout SECONDS waits longer.")


def test_every_process_of_a_bench_says_what_is_waited_for() -> None:
    found = []
    for path in (ROOT / "bench/launcher/specs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ProcessSpec":
                found.append((path.name, {keyword.arg for keyword in node.keywords}))
    assert len(found) >= 6
    assert [name for name, keywords in found if "awaited" not in keywords] == []


@pytest.mark.parametrize("command", [["bench", "run"], ["up"]])
@pytest.mark.parametrize("text", ["0", "-5", "soon", "nan"])
def test_a_limit_that_is_none_is_refused(command: list[str], text: str) -> None:
    done = CliRunner().invoke(app, [*command, f"--ready-timeout={text}"])
    assert done.exit_code == 2, done.output
    assert "--ready-timeout" in done.output
