"""Both ECUs are boards on one adapter: they are updated, and the adapter is pulled or the bus goes off in the middle of an update.

Then: a named fault, the bus opened again, and no ECU left half-way. The tests share a bench, because one takes as long to come up as
several updates. It is there twice: with the kernel's slcan0, and with python-can's slcan interface and ISO-TP in user space, which does
not read the adapter's states and so sees no bus-off. All points: ``setup/with-can python -m tests.boards.pulling`` (and with
``--bus-off``, ``--python-can``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otabench.bench.launcher.options import TransferPolicy
from otabench.proto.job_states import JobState
from tests.boards import rig, test_board_update
from tests.boards.adapter import ADAPTER
from tests.boards.pulling import BUS_OFF, POINTS, PULLED, pulled_bench, update_with
from tests.boards.rig import Rig
from tests.e2e.living_bench import LivingBench
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    pytest.mark.timeout(400),
    needs(not rig.missing(), rig.missing()),
]
BY_NAME = {point.name: point for point in POINTS}
BY_SLCAND, BY_PYTHON_CAN = True, False
EXHAUSTIVE = pytest.mark.exhaustive
on_slcan0 = pytest.mark.parametrize("interrupted", [pytest.param(BY_SLCAND, id="slcand")], indirect=True)


@pytest.fixture(
    scope="module", params=[pytest.param(BY_SLCAND, id="slcand"), pytest.param(BY_PYTHON_CAN, id="python-can")]
)
def interrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rig, LivingBench]]:
    updates = 16 if request.param == BY_SLCAND else 5
    with pulled_bench(tmp_path_factory.mktemp("interrupted"), updates=updates, by_slcand=request.param) as made:
        yield made


@pytest.fixture
def healthy(interrupted: tuple[Rig, LivingBench]) -> tuple[Rig, LivingBench]:
    """The adapter and the bench, healthy whatever the test before has left."""
    interrupted[1].heal()
    return interrupted


@pytest.fixture
def living(healthy: tuple[Rig, LivingBench]) -> Iterator[LivingBench]:
    """The bench, and proven healthy after."""
    yield healthy[1]
    healthy[1].heal()


@on_slcan0
@pytest.mark.parametrize(("transfer", "kind"), [(TransferPolicy.FULL, "full"), (TransferPolicy.DELTA, "delta")])
def test_update(living: LivingBench, transfer: TransferPolicy, kind: str) -> None:
    test_board_update.test_update(living, transfer, kind)


@on_slcan0
def test_rollback_where_a_board_does_not_boot(living: LivingBench) -> None:
    test_board_update.test_rollback_where_a_board_does_not_boot(living)


@on_slcan0
def test_a_board_is_switched_by_its_commands(living: LivingBench) -> None:
    test_board_update.test_a_board_is_switched_by_its_commands(living)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("as INSTALLING begins", marks=EXHAUSTIVE),
        "in the middle of the image",
        pytest.param("as ACTIVATING begins", marks=EXHAUSTIVE),
        pytest.param("while the trials soak", marks=EXHAUSTIVE),
    ],
)
def test_the_update_goes_on_once_the_adapter_is_back(healthy: tuple[Rig, LivingBench], point: str) -> None:
    boards, living = healthy
    outcome = update_with(PULLED, boards, living, BY_NAME[point])
    assert outcome.job.state is JobState.SUCCEEDED, outcome.job.reason
    assert outcome.faults, "the interruption has no name in the trace"
    living.heal()
    assert living.version == outcome.version
    if boards.by_slcand:
        assert living.bench.processes.is_running("can-usb"), "the capture did not outlive the adapter"
    else:
        assert "can-usb" not in living.bench.processes.names, "a serial port is the gateway's alone"


def test_an_adapter_that_stays_out_ends_the_job_by_name_and_every_ecu_runs_what_it_ran(
    healthy: tuple[Rig, LivingBench],
) -> None:
    boards, living = healthy
    before = living.version
    outcome = update_with(PULLED, boards, living, BY_NAME["in the middle of the image, for good"])
    assert outcome.job.state is JobState.FAILED
    bus = ADAPTER if boards.by_slcand else str(boards.terminal)
    assert bus in outcome.job.reason and "plug the adapter in" in outcome.job.reason
    living.heal()
    assert living.version == before


@on_slcan0
@pytest.mark.parametrize(
    "point",
    [
        pytest.param("in the middle of the image", marks=EXHAUSTIVE),
        "as ACTIVATING begins",
        pytest.param("as VERIFYING begins", marks=EXHAUSTIVE),
    ],
)
def test_the_update_goes_on_once_the_bus_is_set_up_again(healthy: tuple[Rig, LivingBench], point: str) -> None:
    boards, living = healthy
    outcome = update_with(BUS_OFF, boards, living, BY_NAME[point])
    assert outcome.job.state is JobState.SUCCEEDED, outcome.job.reason
    assert "BusOff" in outcome.faults
    living.heal()
    assert living.version == outcome.version
    assert living.bench.processes.is_running("can-usb"), "the capture did not outlive the bus-off"


@on_slcan0
def test_a_bus_that_stays_off_ends_the_job_by_name_and_every_ecu_runs_what_it_ran(
    healthy: tuple[Rig, LivingBench],
) -> None:
    boards, living = healthy
    before = living.version
    outcome = update_with(BUS_OFF, boards, living, BY_NAME["in the middle of the image, for good"])
    assert outcome.job.state is JobState.FAILED
    assert "slcan0" in outcome.job.reason and "bus-off" in outcome.job.reason
    assert outcome.faults == ("BusOff",)
    living.heal()
    assert living.version == before
