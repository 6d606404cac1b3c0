"""Versions of firmware before it is made: what the cloud would never take is refused here."""

from __future__ import annotations

from otabench.bench.errors import WrongUsage
from otabench.proto.version_order import VersionOrder, VersionRule


def require(rule: VersionRule, ecu: str, version: str) -> None:
    """Refuse a version that an ECU's software cannot have.

    Raises:
        WrongUsage: it does not fit the order of this ECU's versions.
    """
    try:
        rule.check(version)
    except ValueError as error:
        raise WrongUsage(f"{ecu}: {error} (its versions have the order {rule.order})") from error


def generated(rule: VersionRule, ecu: str, version: str, *, place: int) -> str:
    """Return the version of generated firmware: the one that is asked for, or of a list the one at the same place.

    Raises:
        WrongUsage: the ECU does not have such a version.
    """
    if rule.order is not VersionOrder.LIST or version in rule.known:
        require(rule, ecu, version)
        return version
    if place >= len(rule.known):
        raise WrongUsage(f"{ecu}: its flash profile lists {len(rule.known)} versions, too few for generated firmware")
    return rule.known[place]
