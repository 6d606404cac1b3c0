"""What an update means for a driver, before it begins: which ECUs do not work meanwhile, and which could not be brought back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otabench.bench.gateway.flashing.records import FORMER_FOLDER, FormerImages
from otabench.bench.uds import flash_profiles
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import ProfileInvalid
from otabench.bench.uds.sequence.sections import SlotsKind


@dataclass(frozen=True)
class Consequences:
    """Names of ECUs.

    Attributes:
        stop_working: have one bank, so that they have no application while they are programmed.
        without_way_back: need the former image for a rollback, and it is not available.
    """

    stop_working: tuple[str, ...] = ()
    without_way_back: tuple[str, ...] = ()


def foresee(ecus: Iterable[EcuEndpoint], from_versions: Mapping[str, str], *, state_dir: Path) -> Consequences:
    """Return what an update of these ECUs means.

    Args:
        ecus: those that are updated.
        from_versions: what each of them runs now.
        state_dir: the gateway's folder, with the images that the ECUs ran before.
    """
    former = FormerImages(state_dir / FORMER_FOLDER)
    stop_working, without_way_back = [], []
    for ecu in ecus:
        try:
            facts = flash_profiles.facts_of(ecu.profile)
        except ProfileInvalid:
            continue  # the job ends with this reason before anything is changed
        if facts.slots is SlotsKind.SINGLE:
            stop_working.append(ecu.name)
        if facts.needs_former_image and not former.has(ecu, from_versions.get(ecu.name, "")):
            without_way_back.append(ecu.name)
    return Consequences(tuple(stop_working), tuple(without_way_back))
