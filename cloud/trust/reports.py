"""Whether a vehicle's version report is accepted, and what it proves. Pure: bytes and registered facts in, verified facts or a drop out.

Steps, in this order; no field is trusted before the signature over it:

1. the vehicle's gateway has signed the report;
2. it is about this vehicle (VIN), and by its Primary;
3. its nonce is the one that this cloud gave to this vehicle, has not expired, and was not used before;
4. it has each registered ECU exactly once, and no other;
5. each ECU with a registered key has signed its own report, about itself, this vehicle and this nonce;
6. each ECU's counter is higher than in the last accepted report, and its attested time is not in the future.

A gateway repeats a report whose answer was lost. The same bytes again are the same report, not a replay. Two different reports for one
nonce come from two gateways, because one gateway makes one report for each nonce.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otabench.proto.version_report import (
    EcuEntry,
    EcuVersionReport,
    ReportUnreadable,
    SignatureWrong,
    VehicleVersionReport,
    open_ecu_report,
    open_vehicle_report,
)

MAX_AHEAD_S: Final = 86_400.0
"""By which an ECU's attested time may be later than this cloud's clock, which somebody may have corrected since."""

MAX_BEHIND_S: Final = 3600.0
"""By which it may be earlier than a campaign that began before it. The clocks of several control planes may differ."""


class Drop(StrEnum):
    """Why a report is dropped. It is the first word of the reason that the operator reads."""

    MALFORMED = "MALFORMED"
    GATEWAY_SIGNATURE = "GATEWAY_SIGNATURE"
    OTHER_VEHICLE = "OTHER_VEHICLE"
    OTHER_PRIMARY = "OTHER_PRIMARY"
    UNKNOWN_NONCE = "UNKNOWN_NONCE"
    NONCE_EXPIRED = "NONCE_EXPIRED"
    REPLAYED = "REPLAYED"
    TWO_REPORTERS = "TWO_REPORTERS"
    UNKNOWN_ECU = "UNKNOWN_ECU"
    ECU_MISSING = "ECU_MISSING"
    ECU_SIGNATURE = "ECU_SIGNATURE"
    OTHER_ECU = "OTHER_ECU"
    COUNTER = "COUNTER"
    TIME = "TIME"


class ReportDropped(Exception):
    """A report that is not accepted.

    Attributes:
        drop: the step that refused it.
    """

    def __init__(self, drop: Drop, text: str) -> None:
        super().__init__(f"{drop}: {text}")
        self.drop = drop


@dataclass(frozen=True)
class ReportingEcu:
    """An ECU as registered. ``key``: Ed25519, 32 bytes; empty: it cannot sign. ``counter``: of the last accepted report."""

    ecu: str
    serial: str
    hardware_id: str
    key: bytes
    counter: int


@dataclass(frozen=True)
class Reporter:
    """A vehicle as registered, and the nonces that it was given. Nonces are hexadecimal."""

    vin: str
    gateway_key: bytes
    ecus: Sequence[ReportingEcu]
    nonce: str
    expires_at: float
    """Of the nonce, in s since 1970."""
    used_nonce: str = ""
    """Of the last accepted report."""
    used_sha256: str = ""
    """The digest of the last accepted report."""


@dataclass(frozen=True)
class Installed:
    """The software that one ECU runs. ``own`` is its own report; None if it cannot sign and the gateway states the version."""

    ecu: str
    version: str
    own: EcuVersionReport | None


@dataclass(frozen=True)
class AcceptedReport:
    """A verified report. ``is_repeated``: the cloud has accepted the same bytes before."""

    installed: Mapping[str, Installed]
    sha256: str
    is_repeated: bool


def accept(sealed: bytes, reporter: Reporter, *, now: float) -> AcceptedReport:
    """Return what a report proves, by ECU.

    Args:
        sealed: the report as it arrived.
        reporter: the vehicle that the caller's certificate is for.
        now: s since 1970.

    Raises:
        ReportDropped: the step that it failed, and how.
    """
    # 1. signature of the gateway
    report = _open_vehicle(sealed, reporter)
    # 2. vehicle. A key belongs to one vehicle, so this is a gateway that was moved or misconfigured.
    if report.vin != reporter.vin:
        raise ReportDropped(Drop.OTHER_VEHICLE, f"the report is about the vehicle {report.vin!r}")
    if report.primary and report.primary != reporter.gateway_key.hex():
        raise ReportDropped(Drop.OTHER_PRIMARY, f"the report states the Primary {report.primary[:16]!r}…")
    # 3. nonce
    sha256 = hashlib.sha256(sealed).hexdigest()
    is_repeated = hmac.compare_digest(sha256, reporter.used_sha256)
    if not is_repeated:
        _require_nonce(report.nonce, reporter, now=now)
    # 4. all ECUs, each once
    entries = _entries_by_serial(report.ecus, reporter)
    # 5. and 6. each ECU
    installed = {
        ecu.ecu: _judge_ecu(entries[ecu.serial], ecu, reporter, nonce=report.nonce, is_repeated=is_repeated)
        for ecu in reporter.ecus
    }
    for each in installed.values():
        _judge_time(each, now=now)
    return AcceptedReport(installed, sha256, is_repeated)


def _open_vehicle(sealed: bytes, reporter: Reporter) -> VehicleVersionReport:
    try:
        return open_vehicle_report(sealed, Ed25519PublicKey.from_public_bytes(reporter.gateway_key))
    except SignatureWrong as error:
        raise ReportDropped(
            Drop.GATEWAY_SIGNATURE, "the report is not signed by the registered key of the vehicle's gateway"
        ) from error
    except ReportUnreadable as error:
        raise ReportDropped(Drop.MALFORMED, f"the vehicle's report: {error}") from error


def _require_nonce(nonce: str, reporter: Reporter, *, now: float) -> None:
    if nonce and nonce == reporter.used_nonce:
        raise ReportDropped(
            Drop.TWO_REPORTERS, "another report has answered the same nonce: two gateways have the vehicle's key"
        )
    if not reporter.nonce or nonce != reporter.nonce:
        raise ReportDropped(Drop.UNKNOWN_NONCE, "the nonce is not the one that this vehicle was given last")
    if now >= reporter.expires_at:
        raise ReportDropped(Drop.NONCE_EXPIRED, "the nonce has expired")


def _entries_by_serial(entries: Sequence[EcuEntry], reporter: Reporter) -> dict[str, EcuEntry]:
    known = {ecu.serial: ecu.ecu for ecu in reporter.ecus}
    found: dict[str, EcuEntry] = {}
    for entry in entries:
        if entry.serial not in known or entry.serial in found:
            how = "twice" if entry.serial in found else "not registered for this vehicle"
            raise ReportDropped(Drop.UNKNOWN_ECU, f"ECU {entry.serial!r} is {how}")
        found[entry.serial] = entry
    if missing := [name for serial, name in known.items() if serial not in found]:
        raise ReportDropped(Drop.ECU_MISSING, f"the report does not contain {', '.join(missing)}")
    return found


def _judge_ecu(entry: EcuEntry, ecu: ReportingEcu, reporter: Reporter, *, nonce: str, is_repeated: bool) -> Installed:
    if entry.hardware_id != ecu.hardware_id:
        raise ReportDropped(
            Drop.OTHER_ECU, f"{ecu.ecu} has the hardware {entry.hardware_id!r}, but {ecu.hardware_id!r} is registered"
        )
    if not ecu.key:
        return Installed(ecu.ecu, entry.version, own=None)
    if not entry.report:
        raise ReportDropped(Drop.ECU_MISSING, f"{ecu.ecu} has a registered key, but there is no report of its own")
    # 5. signature of the ECU, then what it states about itself
    own = _open_ecu(entry, ecu)
    stated, expected = (own.serial, own.hardware_id), (ecu.serial, ecu.hardware_id)
    if stated != expected:
        raise ReportDropped(
            Drop.OTHER_ECU, f"{ecu.ecu} states {' '.join(stated)!r}, registered is {' '.join(expected)!r}"
        )
    # An ECU that was never given a VIN states none. Its key still distinguishes it from all other ECUs.
    if own.vin and own.vin != reporter.vin:
        raise ReportDropped(Drop.OTHER_VEHICLE, f"the report of {ecu.ecu} is about the vehicle {own.vin!r}")
    if own.nonce != nonce:
        raise ReportDropped(Drop.REPLAYED, f"the report of {ecu.ecu} answers another nonce")
    # 6. counter
    if own.counter <= ecu.counter and not is_repeated:
        raise ReportDropped(
            Drop.COUNTER, f"the counter of {ecu.ecu} is {own.counter}, and was {ecu.counter} in an earlier report"
        )
    return Installed(ecu.ecu, own.version, own)


def stalled(updated: Mapping[str, Installed], *, since: float) -> list[str]:
    """Return in words which ECUs of an update did not move on in time while others did: somebody withholds the time from them.

    An ECU receives the time before its metadata are judged, so the time of each is later than the campaign. If that is so for none of
    them, this vehicle does not receive the time at all.

    Args:
        updated: the ECUs that were updated, as the report after the update has them.
        since: when the campaign began, in s since 1970.
    """
    times = {name: found.own.attested_time_s for name, found in updated.items() if found.own is not None}
    if not any(time_s + MAX_BEHIND_S >= since for time_s in times.values()):
        return []
    return [
        f"{name} stalls: its attested time is {(since - time_s) / 86_400:.0f} days older than the campaign"
        if time_s
        else f"{name} stalls: it has never received the time, and others have"
        for name, time_s in times.items()
        if time_s + MAX_BEHIND_S < since
    ]


def _judge_time(installed: Installed, *, now: float) -> None:
    """Drop a report of an ECU that lives in the future: a stolen time key attested that, and honest metadata count as expired there."""
    ahead_s = installed.own.attested_time_s - now if installed.own is not None else 0.0
    if ahead_s > MAX_AHEAD_S:
        raise ReportDropped(
            Drop.TIME,
            f"the attested time of {installed.ecu} is {ahead_s / 86_400:.0f} days ahead: replace the time key",
        )


def _open_ecu(entry: EcuEntry, ecu: ReportingEcu) -> EcuVersionReport:
    try:
        return open_ecu_report(bytes.fromhex(entry.report), Ed25519PublicKey.from_public_bytes(ecu.key))
    except SignatureWrong as error:
        raise ReportDropped(
            Drop.ECU_SIGNATURE, f"the report of {ecu.ecu} is not signed by its registered key"
        ) from error
    except ReportUnreadable as error:
        raise ReportDropped(Drop.MALFORMED, f"the report of {ecu.ecu}: {error}") from error
