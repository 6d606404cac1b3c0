"""Make the cases of a story, and compare with what the story states."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otabench.bench.attacks.ecu_door import CHECK_MEMORY, EcuSaysNo
from otabench.bench.attacks.parties import Guard
from otabench.bench.attacks.perform import perform
from otabench.bench.attacks.story import Case, Story
from otabench.bench.gateway.errors import ManifestRefused
from tests.attacks.rig import Vehicle


def cases_of(story: Story) -> pytest.MarkDecorator:
    """Return the parameters of a test that makes each case of a story."""
    ids = [f"{case.name}, {'+'.join(sorted(case.stolen)) or 'no key'}" for case in story.cases]
    return pytest.mark.parametrize("case", story.cases, ids=ids)


def attack(vehicle: Vehicle, case: Case) -> None:
    """Make the attack, and hold the story to its word.

    The refusal has the stated name. Versions and slots that run have not moved, and the metadata that the gateway trusts have not, unless
    the story says so. Then the next honest update works, unless the story says that it does not.
    """
    result = perform(vehicle.scene, case)
    outcome = result.outcome
    assert (outcome.guard, outcome.refusal) == (case.guard, case.refusal), outcome.text
    assert outcome.text or case.guard is None
    # An image that is not complete is an interruption, and not an attack.
    if outcome.guard is Guard.ECU and outcome.refusal in set(CHECK_MEMORY) - {"no-image"}:
        # The Director reads what was refused in the ECU's next report, which the ECU signs.
        expected = outcome.refusal.upper().replace("-", "_")
        doors = (vehicle.scene.target, vehicle.scene.other)
        assert expected in [vehicle.attack_reported_by(door) for door in doors]
    assert not result.versions_moved
    assert result.metadata_moved == case.touches_metadata
    # No file of an attack has the name of a verified one.
    assert not [each for each in vehicle.scene.downloads.glob("*") if each.suffix not in (".part", ".etag")]
    if case.blocks_updates:
        with pytest.raises((ManifestRefused, EcuSaysNo), match=r"older|too-old|expired"):
            vehicle.update_honestly()
        return
    vehicle.update_honestly()


MakeVehicle = Callable[..., Vehicle]
