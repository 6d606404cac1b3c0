"""Judge a manifest's statements about the versions in the whole vehicle, and the dependencies of its images.

An ECU judges its image's dependencies by these statements, because the Director has signed them. It cannot compare them with other ECUs,
but the gateway can. So the gateway refuses wrong statements, and images that an ECU would refuse later, before anything is downloaded (ADR
6). The rules continue those of ``manifest``:

8. If the manifest has an image for an ECU, the version that it states for this ECU is the image's. Otherwise the stated version is not
   newer than what the ECU runs.
9. The stated versions meet every dependency of the images. Image number 0 is what the ECU itself runs now, if anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.gateway.errors import ManifestRefused
from otabench.bench.gateway.trust.manifest import Plan, PlannedEcu
from otabench.bench.uds.identity import EcuIdentity
from otabench.proto.image_format import NOTHING_RUNS, OWN_IMAGE, ImageVersion, first_unmet
from otabench.proto.version_order import SEMVER


def judge_versions(plan: Plan, identities: Mapping[str, EcuIdentity]) -> None:
    """Judge a plan that ``manifest.judge_plan`` has accepted.

    Raises:
        ManifestRefused: the plan breaks rule 8 or 9.
    """
    planned = {each.serial: each for each in plan.ecus}
    running = {identity.serial: identity for identity in identities.values()}
    # Rule 8: the stated versions are true.
    for stated in plan.custom.vehicle:
        image, identity = planned.get(stated.ecu_serial), running.get(stated.ecu_serial)
        if image is not None and not SEMVER.is_same(image.version, stated.version):
            raise ManifestRefused(
                f"it states that {stated.ecu} will run {stated.version}, but its image for {image.ecu} is {image.version}"
            )
        # Images only get newer, so a stated version that is older than what runs does no harm to a minimum version.
        if image is None and identity is not None and _version(identity) < ImageVersion.parse(stated.version):
            raise ManifestRefused(
                f"it states that {stated.ecu} will run {stated.version}, but has no image for it: "
                f"{stated.ecu} runs {identity.software_version}"
            )
    for each in plan.ecus:
        # Rule 9: they meet the dependencies.
        if not each.dependencies:
            continue  # what the ECU runs may be a version of another form
        own = _version(identities[each.ecu])
        # An ECU that runs nothing must remain rescuable, so the condition on its own version does not count then (ADR 6).
        needs = [need for need in each.dependencies if need.image_number != OWN_IMAGE or own != NOTHING_RUNS]
        if first_unmet(needs, plan.custom.versions() | {OWN_IMAGE: own}) is not None:
            raise ManifestRefused(explain(plan, each, runs=identities[each.ecu].software_version))


def explain(plan: Plan, planned: PlannedEcu, *, runs: str) -> str:
    """Return in words what an image depends on and what the vehicle would run. Return an empty text for an image without dependencies.

    Args:
        plan: the manifest.
        planned: one of its images.
        runs: the version that its ECU runs before the update.
    """
    stated = {each.image_number: each for each in plan.custom.vehicle}
    parts = []
    for each in planned.dependencies:
        other = stated.get(each.image_number)
        if each.image_number == OWN_IMAGE:
            parts.append(f"{planned.ecu} >= {each.version} before the update ({planned.ecu} runs {runs})")
        elif other is None:
            parts.append(f"{each} (the manifest does not state a version for that image number)")
        else:
            parts.append(f"{other.ecu} >= {each.version} ({other.ecu} would run {other.version})")
    return f"its image {planned.version} for {planned.ecu} needs {', '.join(parts)}" if parts else ""


def _version(identity: EcuIdentity) -> ImageVersion:
    try:
        return ImageVersion.parse(identity.software_version)
    except ValueError as error:
        raise ManifestRefused(f"what {identity.serial} runs is not known: {error}") from error
