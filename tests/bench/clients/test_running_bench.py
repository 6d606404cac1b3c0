"""Which bench a command in another terminal means: the latest, the one that is up, or none, and where one is up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from otabench.bench import run_mark
from otabench.bench.clients import running_bench
from otabench.bench.errors import NoRunningBench
from otabench.bench.run_mark import RunMark
from tests.bench.runs.made import make_run

OLDER, OLD, NEW = (f"20261128T12000{number}Z" for number in range(3))
LATEST = Path("runs/latest")
ENDED, HERE, ELSEWHERE = "ended", "here", "elsewhere"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that makes a run whose bench is where it says, and points ``runs/latest`` to it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTABENCH_GUEST", raising=False)
    with ExitStack() as marks:

        def make(name: str, where: str, *, guest: str | None = None, **content: Any) -> None:
            folder = make_run(Path("runs"), name)
            # the process of this test is alive and runs Python: a number proves nothing
            (folder / "bench.json").write_text(json.dumps({"pid": os.getpid(), "vin": name} | content))
            if where == HERE:
                mark = RunMark(folder, keep_keys=False)
                mark.make()
                marks.callback(mark.remove)
            elif where == ELSEWHERE:
                (folder / run_mark.NAME).write_text(json.dumps({"pid": 1, "kernel": "another", "guest": guest}))
            LATEST.unlink(missing_ok=True)
            LATEST.symlink_to(name)

        yield make


def test_the_latest_is_taken_if_it_is_up(make: Callable[..., None]) -> None:
    make(OLD, HERE)
    make(NEW, HERE)
    said: list[str] = []
    assert running_bench.find(LATEST, say=said.append).vin == NEW and not said
    assert running_bench.find(Path("runs", OLD)).vin == OLD


@pytest.mark.parametrize(("newest", "what"), [(ENDED, "has ended"), (ELSEWHERE, "is up on another kernel")])
def test_a_second_run_does_not_hide_the_one_that_is_up(make: Callable[..., None], newest: str, what: str) -> None:
    # given a bench that is up on this kernel, and a later run that has ended, or runs in a guest of its own
    make(OLD, HERE)
    make(NEW, newest)
    # when a command means the latest, then it reaches the bench that is up, and says so
    said: list[str] = []
    assert running_bench.find(LATEST, say=said.append).vin == OLD
    assert said == [f"runs/latest ({NEW}): that bench {what}; this is the bench of runs/{OLD}"]
    # when it names the later run, then no other is taken
    with pytest.raises(NoRunningBench, match=f"^runs/{NEW}: that bench {what}; "):
        running_bench.find(Path("runs", NEW))


def test_several_that_are_up_are_named_and_none_is_taken(make: Callable[..., None]) -> None:
    make(OLDER, HERE)
    make(OLD, HERE)
    make(NEW, ENDED)
    with pytest.raises(NoRunningBench, match=rf"several others are up: runs/{OLDER}, runs/{OLD}; name one by --run"):
        running_bench.find(LATEST)


@pytest.mark.parametrize(
    ("benches", "expected"),
    [
        ([(NEW, ENDED, None)], r"has ended; start one by `make up`"),
        ([(NEW, ELSEWHERE, "12-ab34")], r"is up on another kernel, the guest 12-ab34; put `setup/with-can --join=12-ab34` in front"),
        ([(OLD, ELSEWHERE, "12-ab34"), (NEW, ENDED, None)], rf"has ended; runs/{OLD} is up on .* 12-ab34: put `setup/with-can --join=12-"),
        ([(NEW, ELSEWHERE, None)], r"is up on another kernel; run this command outside of this guest"),
    ],
)  # fmt: skip
def test_where_no_bench_is_up_the_message_says_where_one_is(
    make: Callable[..., None], benches: list[tuple[str, str, str | None]], expected: str
) -> None:
    for name, where, guest in benches:
        make(name, where, guest=guest)
    with pytest.raises(NoRunningBench, match=expected):
        running_bench.find(LATEST)


def test_a_folder_without_a_run_and_a_bench_that_is_coming_up_are_told_apart(make: Callable[..., None]) -> None:
    with pytest.raises(NoRunningBench, match=r"runs/latest/bench.json: no bench was brought up there; start one"):
        running_bench.find(LATEST)
    make(NEW, HERE)
    Path("runs", NEW, "bench.json").unlink()
    with pytest.raises(NoRunningBench, match="is still coming up"):
        running_bench.find(LATEST)


def test_a_process_whose_number_belongs_to_another_program_does_not_run(make: Callable[..., None]) -> None:
    bench = os.getppid()
    processes = {"gateway": {"pid": os.getpid()}, "gone": {"pid": 1}, "never": {"pid": 2**22 + 1}}
    make(NEW, HERE, pid=bench, processes=processes)
    found = running_bench.find(LATEST)
    assert {name: found.runs(name) for name in processes} == {"gateway": True, "gone": False, "never": False}


@pytest.mark.parametrize(
    ("newest", "taken"), [(ENDED, OLD), (ELSEWHERE, NEW), (HERE, NEW)]
)  # keys are files: another kernel's can be read
def test_the_keys_are_those_of_the_bench_that_is_up(make: Callable[..., None], newest: str, taken: str) -> None:
    for name, where in ((OLD, ELSEWHERE), (NEW, newest)):
        make(name, where, keys=str(Path("runs", name, "keys").absolute()))
        Path("runs", name, "keys").mkdir()
    keys = running_bench.published_keys(LATEST)
    assert keys is not None and keys.folder == Path("runs", taken, "keys").absolute()
