"""May this vehicle update? The rules, pure: facts in, a refusal with its reason out.

Rules, in the order in which they are asked:

1. The vehicle is known, and so is at least one ECU of it.
2. What the vehicle reports agrees with the inventory: no ECU that is not registered, no other serial number or hardware.
3. Each image fits exactly one ECU: its hardware id is on one ECU of the vehicle (the manifest names one ECU a target).
4. The vehicle is not busy with another job.
5. Each image is newer than what its ECU runs, and its security counter is not lower (the bootloader would refuse it).
6. Where the campaign encrypts, each ECU has a key to encrypt for.
7. What each image depends on is met by what the vehicle runs once the campaign is done: the campaign's versions, and what the
   other ECUs run. (Images only get newer, and dependencies are least versions: what is met stays met.)

Rules 1, 3, 4, 6 are asked when a campaign is made, rules 5 and 7 too as far as the running versions are known; all are asked
when the vehicle checks in. Whether driver and vehicle are ready is not decided here: that is the gateway's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from otabench.proto.image_format import NOTHING_RUNS, OWN_IMAGE, Dependency, ImageVersion, first_unmet
from otabench.proto.job_states import JobState, is_final


class Rule(StrEnum):
    """By which rule a vehicle is refused."""

    UNKNOWN_VEHICLE = "UNKNOWN_VEHICLE"
    NO_ECUS = "NO_ECUS"
    UNKNOWN_ECU = "UNKNOWN_ECU"
    OTHER_SERIAL = "OTHER_SERIAL"
    OTHER_HARDWARE = "OTHER_HARDWARE"
    WRONG_HARDWARE = "WRONG_HARDWARE"
    AMBIGUOUS_HARDWARE = "AMBIGUOUS_HARDWARE"
    VEHICLE_BUSY = "VEHICLE_BUSY"
    VERSION_UNKNOWN = "VERSION_UNKNOWN"
    NOT_NEWER = "NOT_NEWER"
    SECURITY_COUNTER = "SECURITY_COUNTER"
    NO_ENCRYPTION_KEY = "NO_ENCRYPTION_KEY"
    NO_SUCH_IMAGE_NUMBER = "NO_SUCH_IMAGE_NUMBER"
    DEPENDENCY_NOT_MET = "DEPENDENCY_NOT_MET"


@dataclass(frozen=True)
class Refusal:
    """The rule that refuses, and why in words."""

    rule: Rule
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.reason}"


@dataclass(frozen=True)
class EcuFacts:
    """One ECU as registered, with what it was last reported to run ("" and None: never reported)."""

    ecu: str
    serial: str
    hardware_id: str
    software_version: str = ""
    security_counter: int | None = None
    public_key: str = ""
    """X25519, hex; "" where it takes nothing encrypted."""
    image_number: int = 0
    """By which images of other ECUs name it; unique in the vehicle, from 1."""


@dataclass(frozen=True)
class VehicleFacts:
    """One vehicle as the inventory has it, and the job it is busy with, if any."""

    vin: str
    ecus: tuple[EcuFacts, ...]
    busy_job_id: str = ""
    busy_state: JobState | None = None


@dataclass(frozen=True)
class ReportedEcu:
    """One ECU as the vehicle reports it."""

    ecu: str
    serial: str
    hardware_id: str


@dataclass(frozen=True)
class Offer:
    """One image that a campaign wants on a vehicle."""

    hardware_id: str
    version: ImageVersion
    security_counter: int
    is_encrypted: bool = False
    dependencies: tuple[Dependency, ...] = ()


def judge_report(vehicle: VehicleFacts, reported: Sequence[ReportedEcu]) -> Refusal | None:
    """Rules 1 and 2: does what the vehicle says of itself agree with the inventory?"""
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
        if report.serial != registered.serial:
            return Refusal(
                Rule.OTHER_SERIAL,
                f"ECU {report.ecu} reports serial number {report.serial!r}, registered is {registered.serial!r}",
            )
        if report.hardware_id != registered.hardware_id:
            return Refusal(
                Rule.OTHER_HARDWARE,
                f"ECU {report.ecu} reports hardware {report.hardware_id!r}, registered is {registered.hardware_id!r}",
            )
    return None


def judge_fit(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """Rules 1 and 3: does each image fit exactly one ECU?"""
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
                "a manifest names one ECU an image",
            )
    return None


def judge_busy(vehicle: VehicleFacts, *, for_job_id: str = "") -> Refusal | None:
    """Rule 4: is another job running?"""
    state = vehicle.busy_state
    if state is None or is_final(state) or vehicle.busy_job_id == for_job_id:
        return None
    return Refusal(Rule.VEHICLE_BUSY, f"vehicle {vehicle.vin} is busy with job {vehicle.busy_job_id}, which is {state}")


def judge_versions(vehicle: VehicleFacts, offers: Sequence[Offer], *, unknown_is_allowed: bool) -> Refusal | None:
    """Rule 5: is each image newer than what its ECU runs?

    Args:
        vehicle: must have passed ``judge_fit`` for these offers.
        offers: the campaign's images.
        unknown_is_allowed: whether an ECU that never reported a version passes (a campaign may be made before the
            vehicle's first check-in; the check-in asks again).
    """
    for offer in offers:
        ecu = next(ecu for ecu in vehicle.ecus if ecu.hardware_id == offer.hardware_id)
        if not ecu.software_version:
            if unknown_is_allowed:
                continue
            return Refusal(Rule.VERSION_UNKNOWN, f"ECU {ecu.ecu} has not reported which version it runs")
        try:
            running = ImageVersion.parse(ecu.software_version)
        except ValueError as error:
            return Refusal(Rule.VERSION_UNKNOWN, f"ECU {ecu.ecu} reports {error}")
        if offer.version <= running:
            return Refusal(Rule.NOT_NEWER, f"ECU {ecu.ecu} runs {running}, the campaign's {offer.version} is not newer")
        if ecu.security_counter is not None and offer.security_counter < ecu.security_counter:
            return Refusal(
                Rule.SECURITY_COUNTER,
                f"ECU {ecu.ecu} runs security counter {ecu.security_counter}, "
                f"the campaign's {offer.security_counter} is lower",
            )
    return None


def judge_keys(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """Rule 6: can each image that is to be encrypted be? ``vehicle`` has passed ``judge_fit``."""
    for offer in offers:
        ecu = next(ecu for ecu in vehicle.ecus if ecu.hardware_id == offer.hardware_id)
        if offer.is_encrypted and not ecu.public_key:
            return Refusal(
                Rule.NO_ENCRYPTION_KEY,
                f"ECU {ecu.ecu} of vehicle {vehicle.vin} is registered without a public key: register it with one, "
                "or send the campaign unencrypted",
            )
    return None


def versions_after(vehicle: VehicleFacts, offers: Sequence[Offer]) -> dict[int, ImageVersion]:
    """What every ECU runs once these images are installed, by image number, as far as it is known."""
    offered = {offer.hardware_id: offer.version for offer in offers}
    found = {}
    for ecu in vehicle.ecus:
        version = offered.get(ecu.hardware_id) or _running(ecu)
        if version is not None:
            found[ecu.image_number] = version
    return found


def judge_dependencies(vehicle: VehicleFacts, offers: Sequence[Offer], *, unknown_is_allowed: bool) -> Refusal | None:
    """Rule 7: is everything that the images depend on there? ``vehicle`` has passed ``judge_fit``.

    Args:
        vehicle: as the inventory has it.
        offers: the campaign's images.
        unknown_is_allowed: as in ``judge_versions``.
    """
    after = versions_after(vehicle, offers)
    by_number = {ecu.image_number: ecu for ecu in vehicle.ecus}
    offered = {offer.hardware_id for offer in offers}
    for offer in offers:
        ecu = next(ecu for ecu in vehicle.ecus if ecu.hardware_id == offer.hardware_id)
        running = _running(ecu)
        known = after if running is None else {**after, OWN_IMAGE: running}
        for each in offer.dependencies:
            if each.image_number == OWN_IMAGE and running == NOTHING_RUNS:
                continue  # the ECU is to be rescued, and does not ask either
            other = ecu if each.image_number == OWN_IMAGE else by_number.get(each.image_number)
            if other is None:
                present = ", ".join(f"{number}: {by_number[number].ecu}" for number in sorted(by_number))
                return Refusal(
                    Rule.NO_SUCH_IMAGE_NUMBER,
                    f"the image {offer.version} of {ecu.ecu} depends on image number {each.image_number}, which no ECU "
                    f"of vehicle {vehicle.vin} has (it has {present})",
                )
            found = known.get(each.image_number)
            if first_unmet([each], known) is None or (found is None and unknown_is_allowed):
                continue
            said = f"would run {found}" if found is not None else "has not reported what it runs"
            if other is ecu and each.image_number == OWN_IMAGE:
                said = f"runs {found}" if found is not None else said
            elif other.hardware_id not in offered:
                said += " and is not in this campaign"
            return Refusal(
                Rule.DEPENDENCY_NOT_MET,
                f"the image {offer.version} of {ecu.ecu} needs {other.ecu} >= {each.version}, {other.ecu} {said}",
            )
    return None


def judge_campaign(vehicle: VehicleFacts, offers: Sequence[Offer]) -> Refusal | None:
    """What can be judged when a campaign is made: rules 1, 3, 4, 6, and 5 and 7 as far as versions are known."""
    return (
        judge_fit(vehicle, offers)
        or judge_busy(vehicle)
        or judge_keys(vehicle, offers)
        or judge_versions(vehicle, offers, unknown_is_allowed=True)
        or judge_dependencies(vehicle, offers, unknown_is_allowed=True)
    )


def judge_check_in(vehicle: VehicleFacts, offers: Sequence[Offer], *, job_id: str) -> Refusal | None:
    """What is judged when the vehicle asks for its job; ``vehicle`` holds what it just reported (rule 2 has passed)."""
    return (
        judge_fit(vehicle, offers)
        or judge_busy(vehicle, for_job_id=job_id)
        or judge_keys(vehicle, offers)
        or judge_versions(vehicle, offers, unknown_is_allowed=False)
        or judge_dependencies(vehicle, offers, unknown_is_allowed=False)
    )


def _running(ecu: EcuFacts) -> ImageVersion | None:
    try:
        return ImageVersion.parse(ecu.software_version) if ecu.software_version else None
    except ValueError:
        return None
