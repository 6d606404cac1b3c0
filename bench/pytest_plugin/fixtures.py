"""The fixtures (docs/pytest.md). One bench for each run, brought up by the first test that requests it.

Each fixture brings the bench into the state that it needs, and undoes what it did. ``uds_client`` and ``isotp`` make the test the only
tester on the bus (state ``default``), unless the test also uses gateway, campaign, HMI or cloud, which need the gateway
(``application``). Everything heavy is imported when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from otabench.bench.pytest_plugin.items import BENCH_FIXTURE, RUN, evidence_folder, refuse

if TYPE_CHECKING:
    import can

    from otabench.bench.clients.hmi import HmiClient
    from otabench.bench.clients.operator import OperatorClient
    from otabench.bench.pytest_plugin.can_log import CanLog
    from otabench.bench.pytest_plugin.handles import Campaign, Ecu, Faults, Gateway, Power
    from otabench.bench.pytest_plugin.shared_bench import SharedBench
    from otabench.bench.pytest_plugin.uds import Client, IsoTpLink

_NEED_GATEWAY: Final = frozenset({"campaign", "gateway", "hmi", "cloud"})


def _fail(error: Exception) -> NoReturn:
    pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def bench_options() -> Mapping[str, Any]:
    """Options of the bench, for a ``conftest.py`` to override (``otabench.bench.launcher.options.BenchOptions``)."""
    return {}


@pytest.fixture(scope="session")
def _otabench(request: pytest.FixtureRequest, bench_options: Mapping[str, Any]) -> Iterator[SharedBench]:
    from otabench.bench.errors import BenchError
    from otabench.bench.pytest_plugin.properties import properties_of
    from otabench.bench.uds.errors import FlashError

    run = request.config.stash[RUN]
    try:
        started = run.start(bench_options)
        run.properties = properties_of(run)
    except (BenchError, FlashError) as error:
        run.stop()
        run.give_up(str(error), test="its start")
        _fail(error)
    yield started
    run.stop()


@pytest.fixture(scope="session")
def bench(_otabench: SharedBench) -> SharedBench:
    """The running bench: ``transition("default")``, ``jobs.update()``, ``processes``, ``ecus``, ``bus_ports``, ``folder``."""
    return _otabench


@pytest.fixture(autouse=True)
def _otabench_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around each test: evidence begins and ends, and the bench is proven healthy."""
    run = request.config.stash[RUN]
    if run.bench is not None and BENCH_FIXTURE in request.fixturenames:
        from otabench.bench.pytest_plugin import guard

        with guard.around(run, request):
            yield
        return
    yield


@pytest.fixture
def ecu(request: pytest.FixtureRequest, bench: SharedBench) -> Ecu:
    """One ECU: the one of ``--bench-ecu``, else the first that has what the test asks for.

    ``@pytest.mark.parametrize("ecu", ["engine", "adas"], indirect=True)`` names others.
    """
    from otabench.bench.pytest_plugin import features, handles

    run = request.config.stash[RUN]
    wanted = frozenset(name for marker in request.node.iter_markers("feature") for name in marker.args)
    needs_board = request.node.get_closest_marker("hil") is not None
    chosen = getattr(request, "param", "") or run.ecu
    if chosen and chosen not in bench.topology.ecus:
        pytest.fail(
            f"bench {run.bench_name} has no ECU {chosen!r}; known: {', '.join(bench.topology.ecus)}", pytrace=False
        )
    return handles.Ecu(chosen or features.choose_ecu(bench.topology, wanted=wanted, needs_board=needs_board), bench)


@pytest.fixture
def ecus(bench: SharedBench) -> dict[str, Ecu]:
    """All ECUs, by name, in the bench file's order."""
    from otabench.bench.pytest_plugin import handles

    return {name: handles.Ecu(name, bench) for name in bench.topology.ecus}


@pytest.fixture
def cloud(bench: SharedBench) -> OperatorClient:
    """The operator's connection to the cloud: campaigns and vehicles."""
    _ask(bench, "application")
    return bench.operator


@pytest.fixture
def gateway(bench: SharedBench) -> Gateway:
    """The gateway: what it shows, its log, and its process (``kill``, ``restart``)."""
    from otabench.bench.pytest_plugin import handles

    _ask(bench, "application")
    return handles.Gateway(bench)


@pytest.fixture
def hmi(bench: SharedBench) -> HmiClient:
    """The gateway's HMI: ``state()``, ``decide()``, ``url`` for a browser."""
    _ask(bench, "application")
    return bench.hmi


@pytest.fixture
def campaign(bench: SharedBench) -> Campaign:
    """Campaigns for the vehicle: ``install()``, or ``offer()``, ``decide()``, ``wait()``."""
    from otabench.bench.pytest_plugin import handles

    _ask(bench, "application")
    return handles.Campaign(bench)


@pytest.fixture
def can_bus(ecu: Ecu) -> Iterator[can.BusABC]:
    """A python-can bus on the ECU's bus."""
    import can

    entry = ecu.bench.topology.buses[ecu.entry.bus]
    with can.Bus(**entry.can_arguments()) as opened:
        yield opened


@pytest.fixture
def isotp(request: pytest.FixtureRequest, ecu: Ecu) -> Iterator[IsoTpLink]:
    """ISO-TP to the ECU: ``send``, ``recv``, ``request`` of whole messages."""
    from otabench.bench.pytest_plugin import uds

    _own_the_bus(request, ecu.bench)
    with uds.connection(ecu.endpoint) as connection, uds.IsoTpLink(connection) as link:
        yield link


@pytest.fixture
def uds_client(request: pytest.FixtureRequest, ecu: Ecu) -> Iterator[Client]:
    """A udsoncan client of the ECU, with its security algorithm and the profile's identifiers."""
    from otabench.bench.pytest_plugin import uds

    _own_the_bus(request, ecu.bench)
    with uds.client(ecu.endpoint) as client:
        yield client


@pytest.fixture
def power(request: pytest.FixtureRequest, ecu: Ecu) -> Iterator[Power]:
    """The ECU's supply: ``off``, ``on``, ``cycle``. Skips where the bench cannot switch it; on again after the test."""
    from otabench.bench.errors import BenchError
    from otabench.bench.pytest_plugin import handles

    _need_feature(request, ecu, "power")
    switch = handles.Power(ecu)
    yield switch
    if not ecu.bench.broken and not request.config.stash[RUN].is_ending:
        with suppress(BenchError):  # tidying tries it again after every test, and reports what it cannot do in one line
            ecu.bench.ecus.power(ecu.name).on()


@pytest.fixture
def fault(request: pytest.FixtureRequest, ecu: Ecu) -> Faults:
    """Faults on demand: ``fault("boot-fail")``. Skips where the ECU takes none; cleared after the test."""
    from otabench.bench.pytest_plugin import handles

    _need_feature(request, ecu, "fault")
    return handles.Faults(ecu)


@pytest.fixture
def artifacts_dir(request: pytest.FixtureRequest, bench: SharedBench) -> Path:
    """A folder for this test's files, in the run's folder. The evidence is put there if the test fails."""
    folder = evidence_folder(bench.folder.root, request.node.nodeid)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def can_log(request: pytest.FixtureRequest, bench: SharedBench) -> CanLog:
    """What was on the buses since the test began: ``frames()``, ``wait_for(0x7E8)``."""
    found = request.config.stash[RUN].can_log
    if found is None:
        pytest.fail(
            "can_log: the bench was not up when the test began; add `bench` to the test's arguments", pytrace=False
        )
    return found


def _ask(bench: SharedBench, state: str) -> None:
    from otabench.bench.errors import BenchError

    if bench.state == state and not bench.broken:
        return
    try:
        bench.transition(state)
    except BenchError as error:
        _fail(error)


def _own_the_bus(request: pytest.FixtureRequest, bench: SharedBench) -> None:
    needs_gateway = _NEED_GATEWAY & set(request.fixturenames)
    _ask(bench, "application" if needs_gateway else "programming" if bench.state == "programming" else "default")


def _need_feature(request: pytest.FixtureRequest, ecu: Ecu, feature: str) -> None:
    from otabench.bench.pytest_plugin import features
    from otabench.bench.pytest_plugin.demands import missing_feature

    run = request.config.stash[RUN]
    present = features.of_ecu(ecu.bench.topology, ecu.name)
    missing = missing_feature(feature, present=present, bench=run.bench_name, ecu=ecu.name)
    if missing is not None:
        refuse(run, missing)
