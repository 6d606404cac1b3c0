"""The rules that decide whether a vehicle may get a campaign's images.

The functions take facts and return a refusal with its reason, or None. They use neither database nor clock. Rules:

1. The vehicle is registered, with at least one ECU.
2. What the vehicle reports agrees with its registration: every reported ECU is registered, with that serial number and hardware.
3. Each image fits exactly one ECU of the vehicle by its hardware id, because a manifest names one ECU for each target. It is of the kind
   that this ECU takes: an MCUboot image or a program file.
4. The vehicle is not busy with another job.
5. Each image's version is one of its ECU's order of versions (``proto.version_order``) and newer than what the ECU runs. The security
   counter of an MCUboot image is not lower. Otherwise the bootloader would refuse it.
6. In an encrypted campaign each ECU has a public key. Program files are not encrypted for their ECU.
7. Each image's dependencies are met by what the vehicle runs after the update: the campaign's versions, and what the other ECUs run now.
   Images only get newer and a dependency is a minimum version, so a dependency that is met stays met. Only ECUs with versions in MCUboot's
   form (order ``semver``) can be named in one.
8. Images that state an RXSWIN of the same regulation (UN R156) state the same one: the ECUs of a vehicle that are approved together are
   updated together.

When a campaign is created, rules 1, 3, 4, 6 and 8 apply, and rules 5 and 7 as far as the running versions are known. At check-in all rules
apply. The gateway decides whether driver and vehicle are ready.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from otabench.proto.image_format import NOTHING_RUNS, OWN_IMAGE, Dependency, ImageVersion, first_unmet
from otabench.proto.job_states import JobState, is_final
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import SEMVER, VersionOrder, VersionRule


class Rule(StrEnum):
    """The rule that refuses a vehicle. It is the first word of the reason that vehicle and operator read."""

    UNKNOWN_VEHICLE = "UNKNOWN_VEHICLE"
    NO_ECUS = "NO_ECUS"
    UNKNOWN_ECU = "UNKNOWN_ECU"
    OTHER_SERIAL = "OTHER_SERIAL"
    OTHER_HARDWARE = "OTHER_HARDWARE"
    WRONG_HARDWARE = "WRONG_HARDWARE"
    WRONG_PAYLOAD = "WRONG_PAYLOAD"
    AMBIGUOUS_HARDWARE = "AMBIGUOUS_HARDWARE"
    VEHICLE_BUSY = "VEHICLE_BUSY"
    VERSION_UNKNOWN = "VERSION_UNKNOWN"
    WRONG_VERSION = "WRONG_VERSION"
    NOT_NEWER = "NOT_NEWER"
    SECURITY_COUNTER = "SECURITY_COUNTER"
    NO_ENCRYPTION_KEY = "NO_ENCRYPTION_KEY"
    NO_SUCH_IMAGE_NUMBER = "NO_SUCH_IMAGE_NUMBER"
    DEPENDENCY_NOT_MET = "DEPENDENCY_NOT_MET"
    RXSWIN_DIFFERS = "RXSWIN_DIFFERS"


@dataclass(frozen=True)
class Refusal:
    """A broken rule, and the reason in words."""

    rule: Rule
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}"


@dataclass(frozen=True)
class EcuFacts:
    """One ECU as registered, with its last reported version and security counter ("" and None: never reported)."""

    ecu: str
    serial: str
    hardware_id: str
    software_version: str = ""
    security_counter: int | None = None
    public_key: str = ""
    """X25519 key, hex; "" if artifacts cannot be encrypted for this ECU."""
    image_number: int = 0
    """The number that dependencies of other ECUs' images use for this ECU; unique in the vehicle, from 1."""
    takes_programs: bool = False
    """Whether it takes program files instead of MCUboot images."""
    takes_patches: bool = True
    versions: VersionRule = SEMVER
    report_key: str = ""
    """Ed25519 key, hex, that verifies its version reports; "" if it cannot sign."""


@dataclass(frozen=True)
class VehicleFacts:
    """One vehicle as registered, and its open job, if any."""

    vin: str
    ecus: tuple[EcuFacts, ...]
    busy_job_id: str = ""
    busy_state: JobState | None = None
    gateway_key: str = ""
    """Ed25519 key, hex, that verifies the vehicle's version reports; "" if its gateway cannot sign."""
    report_nonce: str = ""
    """The nonce for its next version report, hex; "" if it has none."""
    nonce_expires_at: float = 0.0

    def ecu_for(self, hardware_id: str) -> EcuFacts:
        """Return the ECU with that hardware. The vehicle must have passed ``judge_fit``, so there is exactly one."""
        return next(ecu for ecu in self.ecus if ecu.hardware_id == hardware_id)


@dataclass(frozen=True)
class ReportedEcu:
    """One ECU as the vehicle identifies it in a report."""

    ecu: str
    serial: str
    hardware_id: str


@dataclass(frozen=True)
class Offer:
    """One image of a campaign."""

    hardware_id: str
    version: str
    security_counter: int
    is_encrypted: bool = False
    dependencies: tuple[Dependency, ...] = ()
    payload: PayloadCustom | None = None
    """What is in a program file. None: this is an MCUboot image."""
    rxswin: str = ""
    """What its ECU reports then; empty: the image states none."""


def judge_report(vehicle: VehicleFacts, reported: Sequence[ReportedEcu]) -> Refusal | None:
    """Judge rules 1 and 2: the report agrees with the registration."""
    if not vehicle.ecus:
        return Refusal(Rule.NO_ECUS, f"no ECU is registered for vehicle {vehicle.vin}")
    known = {ecu.ecu: ecu for ecu in vehicle.ecus}
    for report in reported:
        registered = known.get(report.ecu)
        if registered is None:
            return Refusal(
                Rule.UNKNOWN_ECU,
                f"ECU {report.ecu!r} is not registered for vehicle {vehicle.vin} (registered: {', '.join(known)})",
            )
        # An ECU may have been replaced. Then the vehicle must be registered again, because manifests contain serial numbers.
        if report.serial != registered.serial:
            return Refusal(
                Rule.OTHER_SERIAL,
                f"ECU {report.ecu} reports serial number {report.serial!r}, but {registered.serial!r} is registered",
            )
        if report.hardware_id != registered.hardware_id:
            return Refusal(
                Rule.OTHER_HARDWARE,
                f"ECU {report.ecu} reports hardware {report.hardware_id!r}, but {registered.hardware_id!r} is registered",
            )
    return None


def judge_fit(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """Judge rules 1 and 3: each image fits exactly one ECU."""
    if not vehicle.ecus:
        return Refusal(Rule.NO_ECUS, f"no ECU is registered for vehicle {vehicle.vin}")
    for offer in offers:
        fitting = [ecu.ecu for ecu in vehicle.ecus if ecu.hardware_id == offer.hardware_id]
        if not fitting:
            present = ", ".join(f"{ecu.ecu}: {ecu.hardware_id}" for ecu in vehicle.ecus)
            return Refusal(
                Rule.WRONG_HARDWARE,
                f"vehicle {vehicle.vin} has no ECU with hardware {offer.hardware_id!r} (it has {present})",
            )
        if len(fitting) > 1:
            return Refusal(
                Rule.AMBIGUOUS_HARDWARE,
                f"vehicle {vehicle.vin} has several ECUs with hardware {offer.hardware_id!r} ({', '.join(fitting)}): "
                "a manifest names one ECU for each image",
            )
        if refusal := _judge_payload(vehicle.ecu_for(offer.hardware_id), offer):
            return refusal
    return None


def _judge_payload(ecu: EcuFacts, offer: Offer) -> Refusal | None:
    if ecu.takes_programs == (offer.payload is not None):
        return None
    if offer.payload is None:
        return Refusal(
            Rule.WRONG_PAYLOAD,
            f"ECU {ecu.ecu} takes program files, and the campaign's is an MCUboot image: send the program that it was made of",
        )
    return Refusal(
        Rule.WRONG_PAYLOAD,
        f"ECU {ecu.ecu} takes MCUboot images, and the campaign's is a program file ({offer.payload.format}): "
        "make an image of it (otabench firmware pack)",
    )


def judge_busy(vehicle: VehicleFacts, *, for_job_id: str = "") -> Refusal | None:
    """Judge rule 4: the vehicle has no open job except ``for_job_id``."""
    state = vehicle.busy_state
    if state is None or is_final(state) or vehicle.busy_job_id == for_job_id:
        return None
    return Refusal(Rule.VEHICLE_BUSY, f"vehicle {vehicle.vin} is busy with job {vehicle.busy_job_id}, which is {state}")


def judge_versions(vehicle: VehicleFacts, offers: Sequence[Offer], *, unknown_is_allowed: bool) -> Refusal | None:
    """Judge rule 5: each image is newer than what its ECU runs.

    Args:
        vehicle: must have passed ``judge_fit`` for these offers.
        offers: the campaign's images.
        unknown_is_allowed: whether an ECU that has never reported a version passes. It passes when a campaign is created, because the
            vehicle may not have checked in yet. The check-in judges again.
    """
    for offer in offers:
        ecu = vehicle.ecu_for(offer.hardware_id)
        try:
            ecu.versions.check(offer.version)
        except ValueError as error:
            return Refusal(Rule.WRONG_VERSION, f"ECU {ecu.ecu} does not take it ({ecu.versions.order}): {error}")
        if not ecu.software_version:
            if unknown_is_allowed:
                continue
            return Refusal(Rule.VERSION_UNKNOWN, f"ECU {ecu.ecu} has not reported which version it runs")
        running = ecu.software_version
        try:
            # Build numbers count, as they do for the bootloader: 1.0.0+1 is newer than 1.0.0.
            is_newer = ecu.versions.is_newer(offer.version, than=running)
        except ValueError as error:
            return Refusal(Rule.VERSION_UNKNOWN, f"ECU {ecu.ecu} reports {error}")
        if not is_newer:
            return Refusal(
                Rule.NOT_NEWER, f"ECU {ecu.ecu} runs {running}, and the campaign's {offer.version} is not newer"
            )
        # A program file has no counter.
        if offer.payload is None and ecu.security_counter is not None and offer.security_counter < ecu.security_counter:
            return Refusal(
                Rule.SECURITY_COUNTER,
                f"ECU {ecu.ecu} runs security counter {ecu.security_counter}, "
                f"and the campaign's {offer.security_counter} is lower",
            )
    return None


def judge_keys(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """Judge rule 6: there is a public key for each image that is to be encrypted. ``vehicle`` must have passed ``judge_fit``."""
    for offer in offers:
        ecu = vehicle.ecu_for(offer.hardware_id)
        if offer.is_encrypted and ecu.takes_programs:
            return Refusal(
                Rule.NO_ENCRYPTION_KEY,
                f"ECU {ecu.ecu} takes program files, which are not encrypted for it: send the campaign unencrypted",
            )
        if offer.is_encrypted and not ecu.public_key:
            return Refusal(
                Rule.NO_ENCRYPTION_KEY,
                f"ECU {ecu.ecu} of vehicle {vehicle.vin} is registered without a public key: register it with one, "
                "or send the campaign unencrypted",
            )
    return None


def versions_after(vehicle: VehicleFacts, offers: Sequence[Offer]) -> dict[int, ImageVersion]:
    """Return what every ECU runs after the update, by image number.

    ECUs that have never reported a version are left out, and so are those with versions of another form than MCUboot's.
    """
    offered = {offer.hardware_id: offer.version for offer in offers}
    versions = {}
    for ecu in vehicle.ecus:
        version = _parsed(ecu, offered.get(ecu.hardware_id, "")) or _running(ecu)
        if version is not None:
            versions[ecu.image_number] = version
    return versions


def judge_dependencies(vehicle: VehicleFacts, offers: Sequence[Offer], *, unknown_is_allowed: bool) -> Refusal | None:
    """Judge rule 7: each image's dependencies are met after the update.

    Args:
        vehicle: must have passed ``judge_fit`` for these offers.
        offers: the campaign's images.
        unknown_is_allowed: as in ``judge_versions``.
    """
    after = versions_after(vehicle, offers)
    for offer in offers:
        ecu = vehicle.ecu_for(offer.hardware_id)
        running = _running(ecu)
        # A dependency on the ECU's own image concerns the version before the update. All others concern the versions after it.
        known = after if running is None else {**after, OWN_IMAGE: running}
        for each in offer.dependencies:
            if each.image_number == OWN_IMAGE and running == NOTHING_RUNS:
                # The ECU is in its bootloader and must remain rescuable. It does not judge this dependency either (ADR 6).
                continue
            found = known.get(each.image_number)
            other = _ecu_of(vehicle, each, own=ecu)
            if other is None:
                return _no_such_number(vehicle, offer, ecu, each)
            if other.versions.order is not VersionOrder.SEMVER:
                return Refusal(
                    Rule.DEPENDENCY_NOT_MET,
                    f"the image {offer.version} of {ecu.ecu} needs {other.ecu} >= {each.version}, but versions of {other.ecu} have the "
                    f"order {other.versions.order}: only semver versions can be compared with that",
                )
            if first_unmet([each], known) is None or (found is None and unknown_is_allowed):
                continue
            is_offered = any(other.hardware_id == candidate.hardware_id for candidate in offers)
            predicate = _describe_version(found, is_own=each.image_number == OWN_IMAGE, is_offered=is_offered)
            return Refusal(
                Rule.DEPENDENCY_NOT_MET,
                f"the image {offer.version} of {ecu.ecu} needs {other.ecu} >= {each.version}, but {other.ecu} {predicate}",
            )
    return None


def judge_rxswin(offers: Sequence[Offer]) -> Refusal | None:
    """Judge rule 8: one RXSWIN for each regulation. One that does not begin with a regulation's number stands for itself."""
    first: dict[str, Offer] = {}
    for offer in offers:
        named = re.match(r"R\d+", offer.rxswin)
        if named is None:
            continue
        other = first.setdefault(named[0], offer)
        if other.rxswin != offer.rxswin:
            return Refusal(
                Rule.RXSWIN_DIFFERS,
                f"the image for {offer.hardware_id} states the RXSWIN {offer.rxswin!r}, and that for {other.hardware_id} "
                f"{other.rxswin!r}: the vehicle would have two of {named[0]}",
            )
    return None


def _ecu_of(vehicle: VehicleFacts, dependency: Dependency, *, own: EcuFacts) -> EcuFacts | None:
    if dependency.image_number == OWN_IMAGE:
        return own
    return next((ecu for ecu in vehicle.ecus if ecu.image_number == dependency.image_number), None)


def _no_such_number(vehicle: VehicleFacts, offer: Offer, ecu: EcuFacts, dependency: Dependency) -> Refusal:
    # In the order of the numbers, because the operator looks for a number.
    in_order = sorted(vehicle.ecus, key=lambda each: each.image_number)
    present = ", ".join(f"{each.image_number}: {each.ecu}" for each in in_order)
    return Refusal(
        Rule.NO_SUCH_IMAGE_NUMBER,
        f"the image {offer.version} of {ecu.ecu} depends on image number {dependency.image_number}, which no ECU "
        f"of vehicle {vehicle.vin} has (it has {present})",
    )


def _describe_version(found: ImageVersion | None, *, is_own: bool, is_offered: bool) -> str:
    """Return what an ECU runs, or would run after the update, as the end of a sentence."""
    if is_own:
        return "has not reported what it runs" if found is None else f"runs {found}"
    predicate = "has not reported what it runs" if found is None else f"would run {found}"
    return predicate if is_offered else f"{predicate} and is not in this campaign"


def judge_campaign(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """Judge a vehicle when a campaign is created: rules 1, 3, 4, 6, 8, and 5 and 7 as far as versions are known."""
    return (
        judge_fit(vehicle, offers)
        or judge_busy(vehicle)
        or judge_keys(vehicle, offers)
        or judge_versions(vehicle, offers, unknown_is_allowed=True)
        or judge_dependencies(vehicle, offers, unknown_is_allowed=True)
        or judge_rxswin(offers)
    )


def judge_check_in(vehicle: VehicleFacts, offers: Sequence[Offer], *, job_id: str) -> Refusal | None:
    """Judge a vehicle that checks in: rules 1 and 3 to 8. Its report must have passed rule 2, and is part of ``vehicle``."""
    return (
        judge_fit(vehicle, offers)
        or judge_busy(vehicle, for_job_id=job_id)
        or judge_keys(vehicle, offers)
        or judge_versions(vehicle, offers, unknown_is_allowed=False)
        or judge_dependencies(vehicle, offers, unknown_is_allowed=False)
        or judge_rxswin(offers)
    )


def _running(ecu: EcuFacts) -> ImageVersion | None:
    return _parsed(ecu, ecu.software_version)


def _parsed(ecu: EcuFacts, version: str) -> ImageVersion | None:
    # A vehicle may report any text. Treat a text that is not a version like a missing one.
    try:
        return ImageVersion.parse(version) if version and ecu.versions.order is VersionOrder.SEMVER else None
    except ValueError:
        return None
