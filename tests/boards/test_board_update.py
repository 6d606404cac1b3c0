"""The tests of a simulated bench, on boards behind a USB-serial adapter: only the bench file differs.

`make test` runs them where a bench is up anyway: on boards only in ``test_interrupted``, on a mixed bench in the share of
``tests/e2e`` and ``tests/diagnostics`` that `setup/run-tests` runs there. `make test-all` runs them on benches of their own as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otabench.bench.launcher.bench import Bench
from otabench.bench.launcher.options import TransferPolicy
from tests.boards import rig
from tests.boards.rig import Rig
from tests.e2e.living_bench import QUICK_ECU, VERSIONS, LivingBench, quick_options
from tests.e2e.test_ecu_faults import test_a_new_image_that_does_not_run_rolls_both_ecus_back as boot_failure
from tests.e2e.test_update import test_both_ecus_run_the_confirmed_new_version as update
from tests.needs import needs

pytestmark = [
    pytest.mark.vcan,
    pytest.mark.mosquitto,
    pytest.mark.exhaustive,
    needs(not rig.missing(), rig.missing()),
]

SIZE_BYTES = 12 * 1024
BENCHES = {"boards only": ("engine", "adas"), "engine simulated, adas a board": ("adas",)}


@pytest.fixture(scope="module", params=list(BENCHES.values()), ids=list(BENCHES))
def board_bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingBench]:
    folder = tmp_path_factory.mktemp("boards")
    with Rig(folder, boards=request.param, size_bytes=SIZE_BYTES, ecu_timing=QUICK_ECU) as boards:
        options = quick_options(
            folder / "runs",
            versions=VERSIONS[:6],
            image_size_bytes=SIZE_BYTES,
            bench_file=boards.bench_file,
        )
        with Bench.bring_up(options) as bench:
            yield LivingBench(bench)


@pytest.fixture
def living(board_bench: LivingBench) -> Iterator[LivingBench]:
    """The bench, healthy before and proven healthy after."""
    yield board_bench
    board_bench.heal()


@pytest.mark.parametrize(("transfer", "kind"), [(TransferPolicy.FULL, "full"), (TransferPolicy.DELTA, "delta")])
def test_update(living: LivingBench, transfer: TransferPolicy, kind: str) -> None:
    update(living, transfer, kind)


def test_rollback_where_a_board_does_not_boot(living: LivingBench) -> None:
    boot_failure(living, "adas", "boot-fail", {})


def test_a_board_is_switched_by_its_commands(living: LivingBench) -> None:
    supply = living.bench.ecus.power("adas")
    supply.off()
    assert living.bench.ecus.control_port("adas").state()["power"] == "off"
    supply.on()
    assert living.bench.ecus.control_port("adas").state()["power"] == "on"
