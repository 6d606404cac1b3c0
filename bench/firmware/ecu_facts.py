"""What an ECU of the bench file takes, from its flash profile."""

from __future__ import annotations

from otabench.bench.errors import WrongUsage
from otabench.bench.topology.model import Topology
from otabench.bench.uds import flash_profiles
from otabench.bench.uds.errors import ProfileInvalid
from otabench.bench.uds.flash_profiles import ProfileFacts


def of(topology: Topology, ecu: str) -> ProfileFacts:
    """Return the facts of an ECU's flash profile.

    Raises:
        WrongUsage: the profile does not exist, or has mistakes.
    """
    try:
        return flash_profiles.facts_of(topology.ecus[ecu].profile)
    except ProfileInvalid as error:
        raise WrongUsage(f"ecus.{ecu}.profile: {error}") from error
