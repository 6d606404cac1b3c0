"""Check what a manifest states about the versions in the whole vehicle, and whether that meets its images' dependencies. Pure.

The ECUs judge their images' dependencies by these statements, which the Director has signed. The gateway sees all ECUs. It refuses,
before anything is downloaded, statements that are not true and images that an ECU would refuse later. Rules, after those of ``manifest``:

8. The version that it states for an ECU is that of its image for the ECU. Without an image for the ECU, it is not newer than what runs.
9. Every dependency of its images is met by the versions that it states. Image 0 is what the ECU runs now, if anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.image_format import NOTHING_RUNS, OWN_IMAGE, ImageVersion, first_unmet


def judge_versions(plan: Plan, identities: Mapping[str, EcuIdentity]) -> None:
    """Judge a plan that ``manifest.judge_plan`` has accepted.

    Raises:
        ManifestRefused: it breaks rule 8 or 9.
    """
    planned = {each.serial: each for each in plan.ecus}
    running = {identity.serial: identity for identity in identities.values()}
    for said in plan.custom.vehicle:
        mine, identity = planned.get(said.ecu_serial), running.get(said.ecu_serial)
        if mine is not None and ImageVersion.parse(mine.version) != ImageVersion.parse(said.version):
            raise ManifestRefused(
                f"it says that {said.ecu} will run {said.version}, and its image for {mine.ecu} is {mine.version}"
            )
        if mine is None and identity is not None and _version(identity) < ImageVersion.parse(said.version):
            raise ManifestRefused(
                f"it says that {said.ecu} will run {said.version}, and has no image for it: "
                f"{said.ecu} runs {identity.software_version}"
            )
    for each in plan.ecus:
        own = _version(identities[each.ecu])
        asked = [need for need in each.dependencies if need.image_number != OWN_IMAGE or own != NOTHING_RUNS]
        if first_unmet(asked, plan.custom.versions() | {OWN_IMAGE: own}) is not None:
            raise ManifestRefused(explain(plan, each, runs=identities[each.ecu].software_version))


def explain(plan: Plan, planned: PlannedEcu, *, runs: str) -> str:
    """Return what an image needs and what the vehicle would run, in words; "" where the manifest states no dependency of it.

    Args:
        plan: the manifest.
        planned: one of its images.
        runs: the version that its ECU runs before the update.
    """
    said = {each.image_number: each for each in plan.custom.vehicle}
    parts = []
    for each in planned.dependencies:
        other = said.get(each.image_number)
        if each.image_number == OWN_IMAGE:
            parts.append(f"{planned.ecu} >= {each.version} before the update ({planned.ecu} runs {runs})")
        elif other is None:
            parts.append(f"{each} (the manifest says of no ECU with that image number what it will run)")
        else:
            parts.append(f"{other.ecu} >= {each.version} ({other.ecu} would run {other.version})")
    return f"its image {planned.version} for {planned.ecu} needs {', '.join(parts)}" if parts else ""


def _version(identity: EcuIdentity) -> ImageVersion:
    try:
        return ImageVersion.parse(identity.software_version)
    except ValueError as error:
        raise ManifestRefused(f"what {identity.serial} runs is not known: {error}") from error
