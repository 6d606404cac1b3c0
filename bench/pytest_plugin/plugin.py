"""Options, markers and hooks of the pytest plugin. Loaded with every pytest run where otabench is installed: imports nothing heavy.

Whether a test runs follows from its markers and fixtures, and from what this machine and this bench have (``demands``). Nothing is
started here; the first test that uses a fixture of the bench does that.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from otabench.bench.pytest_plugin.capabilities import CAPABILITIES
from otabench.bench.pytest_plugin.demands import FEATURE, HIL, Missing, Requirements, missing_board, missing_feature
from otabench.bench.pytest_plugin.items import FAILED, RUN, evidence_folder, refuse, uses_bench
from otabench.bench.pytest_plugin.junit import add_properties
from otabench.bench.pytest_plugin.options import add_options
from otabench.bench.pytest_plugin.roles import OUTPUT_KEY, is_worker, worker_count
from otabench.bench.pytest_plugin.run import BenchRun

pytest_plugins = ["otabench.bench.pytest_plugin.fixtures", "otabench.bench.pytest_plugin.workers"]

_DESTRUCTIVE: Final = "destructive"
_MARKERS: Final = {
    HIL: "needs a real board: an ECU of `kind: board` in the bench file",
    f"{FEATURE}(name, ..., ecu=None)": "needs these features of the bench, or of that ECU: canfd, power, fault, …",
    "slow": "takes more than a few seconds",
    _DESTRUCTIVE: "may damage a board's contents: runs only with --bench-destructive",
}
_OWN_FOLDER: Final = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser.getgroup("otabench", "hardware-in-the-loop bench (otabench)"))


def pytest_configure(config: pytest.Config) -> None:
    for name, capability in CAPABILITIES.items():
        config.addinivalue_line("markers", f"{name}: needs {name} ({capability.remedy})")
    for name, meaning in _MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    option = config.option
    try:
        required = Requirements.parse(str(option.require), capabilities=CAPABILITIES)
    except ValueError as error:
        raise pytest.UsageError(f"--require: {error}") from None
    if option.otabench_wait_s < 0:
        raise pytest.UsageError(f"--bench-wait: {option.otabench_wait_s:g} is less than no time; give seconds")
    # Absolute from here on: xdist hands the options on to workers.
    bench_file = _bench_file(config, option.otabench_file)
    option.otabench_file = str(bench_file or "")
    runs = _absolute(config, option.otabench_runs) or config.rootpath / "runs"
    option.otabench_runs = str(runs)
    config.stash[RUN] = BenchRun(
        bench_file=bench_file,
        runs_dir=runs,
        root=config.rootpath,
        wait_s=option.otabench_wait_s,
        pace=option.otabench_pace,
        ecu=option.otabench_ecu,
        allow_destructive=option.otabench_destructive,
        keep_can_log=option.otabench_keep_can_log,
        required=required,
    )


def _absolute(config: pytest.Config, path: str) -> Path | None:
    return config.invocation_params.dir / Path(path).expanduser() if path else None


def _bench_file(config: pytest.Config, path: str) -> Path | None:
    """Relative to where one stands, else to pytest's root folder: the name may stand in the ini file's addopts.

    Raises:
        pytest.UsageError: the file does not exist.
    """
    here = _absolute(config, path)
    if here is None or here.is_file():
        return here
    from_root = config.rootpath / path
    if from_root.is_file():
        return from_root
    raise pytest.UsageError(
        f"--bench (or OTABENCH_BENCH): {here}: there is no such bench file; `otabench bench init FILE` writes one"
    )


def pytest_report_header(config: pytest.Config) -> str:
    run = config.stash[RUN]
    required = f", required: {', '.join(sorted(run.required.names))}" if run.required.names else ""
    shared = ", used by one worker at a time: the others wait for it" if worker_count(config) > 1 else ""
    return f"otabench: {run.bench_file or run.bench_name}{required}{shared}"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put all bench tests into one group for ``--dist loadgroup``, and check the bench file that they need."""
    asking = [item for item in items if uses_bench(item)]
    if config.pluginmanager.hasplugin("xdist"):
        for item in asking:
            item.add_marker(pytest.mark.xdist_group("otabench"))
    if asking and not is_worker(session):
        _require_usable_bench_file(config.stash[RUN])


def _require_usable_bench_file(run: BenchRun) -> None:
    from otabench.bench.errors import BenchFileError

    try:
        run.topology()
    except BenchFileError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    run = item.config.stash[RUN]
    if item.get_closest_marker(_DESTRUCTIVE) is not None and not run.allow_destructive:
        pytest.skip(f"{_DESTRUCTIVE}: it may damage a board's contents; give --bench-destructive to run it")
    for missing in _missing_for(item, run):
        refuse(run, missing)
    if uses_bench(item) and run.broken:
        pytest.skip(run.broken)


def _missing_for(item: pytest.Item, run: BenchRun) -> list[Missing]:
    found = [
        Missing(name, capability.remedy)
        for name, capability in CAPABILITIES.items()
        if item.get_closest_marker(name) is not None and not capability.present()
    ]
    if found:
        return found
    features = [(marker.args, dict(marker.kwargs)) for marker in item.iter_markers(FEATURE)]
    needs_board = item.get_closest_marker(HIL) is not None
    if not (features or needs_board or uses_bench(item)):
        return []
    return _bench_lacks(run, features, needs_board=needs_board, uses=uses_bench(item))


def _bench_lacks(
    run: BenchRun, asked: list[tuple[tuple[Any, ...], dict[str, Any]]], *, needs_board: bool, uses: bool
) -> list[Missing]:
    from otabench.bench.bus import environment
    from otabench.bench.errors import BenchFileError
    from otabench.bench.pytest_plugin import features

    try:
        topology = run.topology()
    except BenchFileError as error:
        pytest.fail(str(error), pytrace=False)
    found = [missing_board(boards=topology.boards(), bench=run.bench_name)] if needs_board else []
    for names, keywords in asked:
        ecu = keywords.pop("ecu", None)
        if not names or keywords or (ecu is not None and ecu not in topology.ecus):
            pytest.fail(
                f'{FEATURE}: expected feature("canfd", …) or feature("power", ecu="NAME"), NAME one of '
                f"{', '.join(topology.ecus)}",
                pytrace=False,
            )
        present = features.of_ecu(topology, ecu) if ecu else features.of_bench(topology)
        found += [missing_feature(str(name), present=present, bench=run.bench_name, ecu=ecu) for name in names]
    if uses and os.environ.get(environment.NO_KERNEL_CAN) != "1":
        for bus in topology.buses.values():
            problem = environment.virtual_bus_problem(str(bus.channel)) if bus.is_vcan else None
            found += [Missing("vcan", problem.sentence())] if problem else []
    return [missing for missing in found if missing is not None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report: pytest.TestReport = yield
    if report.skipped and isinstance(report.longrepr, tuple) and Path(report.longrepr[0]).parent == _OWN_FOLDER:
        path, line, _ = item.reportinfo()  # the user looks for the test, not for us
        report.longrepr = (os.fspath(path), (line or 0) + 1, report.longrepr[2])
    if report.failed:
        item.stash[FAILED] = True
        bench = item.config.stash[RUN].bench
        if bench is not None and uses_bench(item):
            folder = evidence_folder(bench.folder.root, item.nodeid)
            report.sections.append(("otabench", f"frames, trace, logs and trouble codes of this test: {folder}\n"))
    return report


@pytest.hookimpl(
    wrapper=True, tryfirst=True
)  # the properties before the JUnit file is written and a worker's output sent
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    config = session.config
    run = config.stash[RUN]
    if is_worker(session):
        config.workeroutput[OUTPUT_KEY] = run.properties  # type: ignore[attr-defined]  # xdist's
    else:
        add_properties(config, run.properties)
    run.is_ending = True
    try:
        yield  # undoes the fixtures of a test that was cut off by Ctrl-C; they may still use the bench
    finally:
        run.stop()
