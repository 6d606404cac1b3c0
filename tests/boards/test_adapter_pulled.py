"""The adapter is pulled in the middle of an update: a named fault, the bus opened again, and no ECU left half-way.

Twice: with the kernel's slcan0, and with python-can's slcan interface and ISO-TP in user space. All points:
``setup/with-can python -m tests.boards.pulling`` (and with ``--python-can``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otabench.proto.job_states import JobState
from tests.boards import rig
from tests.boards.adapter import ADAPTER
from tests.boards.pulling import POINTS, PULLED, pulled_bench, update_with
from tests.boards.rig import Rig
from tests.e2e.living_bench import LivingBench
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    needs(not rig.missing(), rig.missing()),
]
BY_NAME = {point.name: point for point in POINTS}


@pytest.fixture(scope="module", params=[True, False], ids=["slcand", "python-can"])
def pulled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rig, LivingBench]]:
    with pulled_bench(tmp_path_factory.mktemp("pulled"), updates=5, by_slcand=request.param) as made:
        yield made


EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("as INSTALLING begins", marks=EXHAUSTIVE),
        "in the middle of the image",
        pytest.param("as ACTIVATING begins", marks=EXHAUSTIVE),
        pytest.param("while the trials soak", marks=EXHAUSTIVE),
    ],
)
def test_the_update_goes_on_once_the_adapter_is_back(pulled: tuple[Rig, LivingBench], point: str) -> None:
    boards, living = pulled
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
    pulled: tuple[Rig, LivingBench],
) -> None:
    boards, living = pulled
    before = living.version
    outcome = update_with(PULLED, boards, living, BY_NAME["in the middle of the image, for good"])
    assert outcome.job.state is JobState.FAILED
    bus = ADAPTER if boards.by_slcand else str(boards.terminal)
    assert bus in outcome.job.reason and "plug the adapter in" in outcome.job.reason
    living.heal()
    assert living.version == before
