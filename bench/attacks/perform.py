"""Make one attack on a scene, and return its outcome.

    result = perform(scene, case)
    result.outcome.guard, result.outcome.refusal

Whatever stops an attack raises its own error. Only this module maps each error to the part of the system that raised it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from otabench.bench.attacks.cloud_door import CloudSaysNo
from otabench.bench.attacks.ecu_door import EcuSaysNo
from otabench.bench.attacks.parties import Guard
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import Case, ConsentRefused, NothingReached, Outcome
from otabench.bench.gateway.errors import DownloadRefused, DownloadTimedOut, ManifestRefused


@dataclass(frozen=True)
class Standing:
    """The state that an attack must not change: running versions, their slots, and the metadata that the gateway has accepted."""

    running: Mapping[str, tuple[str, str, int]]
    """Version, state and number of each ECU's active slot."""
    trusted: Mapping[str, bytes]

    @classmethod
    def of(cls, scene: Scene) -> Standing:
        """Return the present state."""
        running = {
            name: (found.software_version, str(found.active.state), found.active_slot)
            for name, found in scene.read_identities().items()
        }
        return cls(running, scene.trusted_files())


@dataclass(frozen=True)
class Result:
    """An attack that was made, and what moved."""

    outcome: Outcome
    before: Standing
    after: Standing

    @property
    def versions_moved(self) -> bool:
        """Whether an ECU runs something else now."""
        return self.before.running != self.after.running

    @property
    def metadata_moved(self) -> bool:
        """Whether the gateway trusts other metadata now."""
        return self.before.trusted != self.after.trusted


def perform(scene: Scene, case: Case) -> Result:
    """Prepare an attack, make it, and compare before and after.

    Raises:
        BenchError: the attack cannot be made here.
    """
    case.prepare(scene)
    before = Standing.of(scene)
    outcome = _outcome(scene, case)
    return Result(outcome, before, Standing.of(scene))


def _outcome(scene: Scene, case: Case) -> Outcome:
    try:
        case.act(scene)
    except ManifestRefused as error:
        return Outcome(Guard.GATEWAY, str(error.kind), f"manifest refused: {error}")
    except DownloadRefused as error:
        return Outcome(Guard.DOWNLOAD, "wrong-content", str(error))
    except DownloadTimedOut as error:
        return Outcome(Guard.DOWNLOAD, "timed-out", str(error))
    except EcuSaysNo as error:
        return Outcome(Guard.ECU, error.refusal, str(error))
    except CloudSaysNo as error:
        return Outcome(error.guard, error.refusal, str(error))
    except ConsentRefused as error:
        return Outcome(Guard.GATEWAY, "consent", str(error))
    except NothingReached as error:
        return Outcome(Guard.DESIGN, "not named", str(error))
    return Outcome(None)
