"""``otabench attack`` on the running bench: each attack ends as its story states, nothing moves, and the next honest update works."""

from __future__ import annotations

import pytest

from otabench.bench.attacks.stories import catalogue
from otabench.bench.cli.attack import attack
from tests.e2e.living_bench import LivingBench, states

pytestmark = [pytest.mark.mosquitto]


def test_after_attacks_on_gateway_ecu_and_cloud_the_next_honest_update_works(
    living: LivingBench, capsys: pytest.CaptureFixture[str]
) -> None:
    before = states(living.bench)
    # when the vehicle is attacked at each of its doors
    for name in ("other-vehicle", "stolen-certificate"):
        attack(name, run=living.bench.folder.root)
        # then each case is stopped by name
        shown = capsys.readouterr().out
        assert shown.count("\n- ") == shown.count("stopped by") == len(catalogue.find(name).cases)
        assert "MOVED" not in shown
    assert states(living.bench) == before
    living.start_campaign()
    living.approve()
    living.expect_updated()
