"""Version reports in the database: nonces, what was accepted, what was dropped, and whether a job's success is proven.

Every function works inside the caller's transaction, with the vehicle locked. ``trust.reports`` judges a report; here its outcome is
recorded. A dropped report changes nothing but the vehicle's count of dropped ones.

Rules of a job's end:

* A vehicle whose gateway has a registered key must prove that each ECU of the job runs the job's image: an ECU that signs, by length and
  SHA-256 in a CONFIRMED slot; one that cannot, by the version that the gateway states.
* A report that is accepted and shows something else ends the job as FAILED.
* Without an accepted report the job keeps its state, so that whoever has stolen the vehicle's certificate cannot end it by a claim, and the
  vehicle itself can still prove it. After ``MAX_UNPROVEN`` claims the job ends as FAILED, or a vehicle that lost its keys would stay busy.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from otabench.cloud.campaigns import ecu_images
from otabench.cloud.campaigns.ecu_images import EcuImage
from otabench.cloud.campaigns.vehicle_rules import VehicleFacts
from otabench.cloud.store.schema import CampaignRow, EcuRow, JobRow, VehicleRow
from otabench.cloud.trust.reports import (
    AcceptedReport,
    Drop,
    Installed,
    ReportDropped,
    Reporter,
    ReportingEcu,
    accept,
    stalled,
)
from otabench.proto.version_report import NONCE_BYTES, UNPROVEN

NONCE_LIFETIME_S: Final = 3600.0
MAX_UNPROVEN: Final = 5
_CONFIRMED: Final = "CONFIRMED"


@dataclass(frozen=True)
class ReportNotes:
    """Notes on a report for the operator: why it was dropped, and what each ECU has refused, by name."""

    dropped: str = ""
    attacks: Mapping[str, str] = field(default_factory=dict)


NO_NOTES: Final = ReportNotes()


@dataclass(frozen=True)
class TakenReport:
    """The outcome of one report: accepted, or dropped and why."""

    accepted: AcceptedReport | None = None
    dropped: str = ""

    @property
    def notes(self) -> ReportNotes:
        """What the operator should know of the report."""
        installed = self.accepted.installed if self.accepted else {}
        attacks = {ecu: found.own.attack for ecu, found in installed.items() if found.own and found.own.attack}
        return ReportNotes(self.dropped, attacks)


class Proof(StrEnum):
    """What the reports show about a job that is reported as SUCCEEDED."""

    PROVEN = "proven"
    CONTRADICTED = "contradicted"
    UNPROVEN = "unproven"


@dataclass(frozen=True)
class Verdict:
    """A proof, and the reason in words if it is not proven. Of a proven one: what the operator should look at."""

    proof: Proof
    reason: str = ""


def nonce_of(vehicle: VehicleFacts, *, now: float) -> bytes | None:
    """Return the nonce that a vehicle was given and has not used; empty if it needs none. None: ``current_nonce`` has to make one."""
    if not vehicle.gateway_key:
        return b""
    is_current = vehicle.report_nonce and now < vehicle.nonce_expires_at
    return bytes.fromhex(vehicle.report_nonce) if is_current else None


def current_nonce(session: Session, vin: str, *, now: float) -> bytes:
    """Return the nonce for the vehicle's next report; empty if its gateway has no registered key.

    A nonce lasts until it is used or expires, so most answers do not write anything.
    """
    vehicle = session.get(VehicleRow, vin)
    if vehicle is None or not vehicle.gateway_key:
        return b""
    if not vehicle.report_nonce or now >= vehicle.nonce_expires_at:
        vehicle.report_nonce, vehicle.nonce_expires_at = secrets.token_hex(NONCE_BYTES), now + NONCE_LIFETIME_S
    return bytes.fromhex(vehicle.report_nonce)


def take(session: Session, vin: str, sealed: bytes, *, now: float) -> TakenReport:
    """Judge a report and record the outcome. A vehicle without a registered gateway key has nothing to verify it with."""
    vehicle = session.get(VehicleRow, vin) if sealed else None
    if vehicle is None or not vehicle.gateway_key:
        return TakenReport()
    rows = session.scalars(select(EcuRow).where(EcuRow.vin == vin).order_by(EcuRow.position)).all()
    try:
        accepted = accept(sealed, _reporter(vehicle, rows), now=now)
    except ReportDropped as error:
        vehicle.dropped_reports += 1
        vehicle.dropped_reason = str(error)
        vehicle.two_reporters = vehicle.two_reporters or error.drop is Drop.TWO_REPORTERS
        return TakenReport(dropped=str(error))
    if not accepted.is_repeated:
        vehicle.used_nonce, vehicle.used_report_sha256, vehicle.report_nonce = (
            vehicle.report_nonce,
            accepted.sha256,
            "",
        )
        for row in rows:
            if (own := accepted.installed[row.ecu].own) is not None:
                row.report_counter = own.counter
    return TakenReport(accepted)


def judge_success(session: Session, job: JobRow, vehicle: VehicleFacts, taken: TakenReport) -> Verdict:
    """Return whether the vehicle has proven that each ECU of the job runs the job's image."""
    if not vehicle.gateway_key:
        return Verdict(Proof.PROVEN)
    if taken.accepted is None:
        why = f"its version report was dropped: {taken.dropped}" if taken.dropped else "there is no version report"
        return Verdict(Proof.UNPROVEN, f"{UNPROVEN}: the vehicle reports SUCCEEDED, but {why}")
    targets = ecu_images.load_ecu_images(session, job.campaign_id, vehicle)
    for target in targets:
        if other := _difference(target, taken.accepted.installed):
            return Verdict(Proof.CONTRADICTED, f"the vehicle reports SUCCEEDED, but {other}")
    campaign = session.get(CampaignRow, job.campaign_id)
    assert campaign is not None  # the foreign key guarantees the campaign of a job
    updated = {target.ecu.ecu: taken.accepted.installed[target.ecu.ecu] for target in targets}
    return Verdict(Proof.PROVEN, "; ".join(stalled(updated, since=campaign.created_at)))


def _difference(target: EcuImage, installed: Mapping[str, Installed]) -> str:
    """Return in words how an ECU's report differs from the job's image; "" if it does not."""
    name, image = target.ecu.ecu, target.image
    found = installed[name]
    if found.own is None:
        if target.ecu.versions.is_same(found.version, image.version):
            return ""
        return f"its gateway states that {name} runs {found.version or 'nothing'}, not {image.version}"
    own = found.own
    if (own.length, own.hashes.get("sha256")) != (image.length, image.sha256):
        return f"{name} has signed that it runs {own.version}, which is not the job's image of {image.version}"
    if own.state != _CONFIRMED:
        return f"{name} has signed that the image of {image.version} is {own.state}, not {_CONFIRMED}"
    return ""


def _reporter(vehicle: VehicleRow, rows: Sequence[EcuRow]) -> Reporter:
    return Reporter(
        vin=vehicle.vin,
        gateway_key=bytes.fromhex(vehicle.gateway_key),
        ecus=[
            ReportingEcu(row.ecu, row.serial, row.hardware_id, bytes.fromhex(row.report_key), row.report_counter)
            for row in rows
        ],
        nonce=vehicle.report_nonce,
        expires_at=vehicle.nonce_expires_at,
        used_nonce=vehicle.used_nonce,
        used_sha256=vehicle.used_report_sha256,
    )
