"""The bus goes off in the middle of an update: a named fault, and the update goes on once the bus is back, or ends by name.

The adapter reports bus-off, the kernel takes the carrier away, and what is sent is thrown away without an error. All points:
``setup/with-can python -m tests.boards.pulling --bus-off``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otabench.proto.job_states import JobState
from tests.boards import rig
from tests.boards.pulling import BUS_OFF, POINTS, pulled_bench, update_with
from tests.boards.rig import Rig
from tests.e2e.living_bench import LivingBench
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    needs(not rig.missing(), rig.missing()),
]
BY_NAME = {point.name: point for point in POINTS}


@pytest.fixture(scope="module")
def shorted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, LivingBench]]:
    with pulled_bench(tmp_path_factory.mktemp("shorted"), updates=4) as made:
        yield made


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("in the middle of the image", marks=pytest.mark.exhaustive),
        "as ACTIVATING begins",
        pytest.param("as VERIFYING begins", marks=pytest.mark.exhaustive),
    ],
)
def test_the_update_goes_on_once_the_bus_is_set_up_again(shorted: tuple[Rig, LivingBench], point: str) -> None:
    boards, living = shorted
    outcome = update_with(BUS_OFF, boards, living, BY_NAME[point])
    assert outcome.job.state is JobState.SUCCEEDED, outcome.job.reason
    assert "BusOff" in outcome.faults
    living.heal()
    assert living.version == outcome.version
    assert living.bench.processes.is_running("can-usb"), "the capture did not outlive the bus-off"


def test_a_bus_that_stays_off_ends_the_job_by_name_and_every_ecu_runs_what_it_ran(
    shorted: tuple[Rig, LivingBench],
) -> None:
    boards, living = shorted
    before = living.version
    outcome = update_with(BUS_OFF, boards, living, BY_NAME["in the middle of the image, for good"])
    assert outcome.job.state is JobState.FAILED
    assert "slcan0" in outcome.job.reason and "bus-off" in outcome.job.reason
    assert outcome.faults == ("BusOff",)
    living.heal()
    assert living.version == before
