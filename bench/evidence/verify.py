"""Judge an evidence file with nothing but the pinned roots: both repositories' Roots and the CA of the vehicles' certificates.

Checks, in this order; the first that fails is named, and nothing after it is believed:

1. *file*: the parts are those of the manifest, byte for byte.
2. *signature*: a certificate of the pinned CA, made out to this vehicle, signed the manifest.
3. *metadata*: the metadata of both repositories verify from their pinned Roots, as they did when the gateway accepted them, and agree.
4. *facts*: evidence.json, its schema and the page follow from the other parts.
5. *course*: the job went through allowed states to an end, and the conditions held before anything was activated.
6. *consent*: the vehicle signed a consent of the driver to this very manifest, as it was shown, before anything was downloaded and before
   anything was installed.
7. *result*: after a success every ECU runs the version of the manifest; after any other end none runs a version that it did not run before.
8. *audit*: each line of the cloud's audit log is signed by the log's key, the campaign was created for this vehicle, and if it was
   approved, by a second person. The key is not pinned: it shows who made the lines only to somebody who has ``audit.pub`` from the cloud.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from otabench.bench.errors import BenchError
from otabench.bench.evidence import collect, document, page, repositories
from otabench.bench.evidence.document import NotDerivable, Parts
from otabench.bench.evidence.facts import Evidence, SignedConsent
from otabench.bench.evidence.package import SIGNATURE, NotEvidence, Package, read
from otabench.proto import audit_log, time_attestation
from otabench.proto import consent as consents
from otabench.proto.job_states import JobState, is_allowed, is_final
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY
from otabench.proto.vehicle_signature import Signature, certificate_problem, is_signed, read_signature

EVIDENCE: Final = "evidence.json"
SCHEMA: Final = "schema.json"
PAGE: Final = "index.html"
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""Between the gateway's clock and the attested time of a consent. An attestation also has whole seconds only."""


class Refused(Exception):
    """A check failed. The message states what does not match."""


@dataclass(frozen=True)
class Check:
    """One check and its result. ``problem`` is empty if it passed."""

    name: str
    problem: str = ""


@dataclass(frozen=True)
class PinnedRoots:
    """What the verifier trusts: files that were handed over when the vehicle was provisioned."""

    director_root: bytes
    ca: bytes
    image_root: bytes | None = None
    """None: the vehicle has no Image repository."""


def derived_parts(evidence: Evidence, parts: Parts) -> dict[str, bytes]:
    """Return the parts that follow from the others: facts, schema and page.

    Args:
        evidence: what ``document.derive`` makes of the parts.
        parts: all others.
    """
    return {
        EVIDENCE: document.to_bytes(evidence),
        SCHEMA: document.schema(),
        PAGE: page.render(evidence, sorted(parts)).encode(),
    }


def verify(path: Path, roots: PinnedRoots) -> Iterator[Check]:
    """Yield the result of each check, and stop at the first that fails.

    Raises:
        BenchError: the file cannot be read.
    """
    try:
        package = read(path)
    except NotEvidence as error:
        yield Check("file", str(error))
        return
    yield Check("file")
    evidence: Evidence | None = None
    try:
        evidence = document.derive(package.parts)
    except NotDerivable as error:
        yield Check("facts", str(error))
        return
    checks: list[tuple[str, Callable[[], None]]] = [
        ("signature", lambda: _check_signature(package, evidence, roots)),
        ("metadata", lambda: _check_metadata(package.parts, evidence, roots)),
        ("facts", lambda: _check_facts(package.parts, evidence)),
        ("course", lambda: _check_course(evidence)),
        ("consent", lambda: _check_consent(package.parts, evidence, roots)),
        ("result", lambda: _check_result(evidence)),
        ("audit", lambda: _check_audit(package.parts, evidence)),
    ]
    for name, check in checks:
        try:
            check()
        except (Refused, NotDerivable) as error:
            yield Check(name, str(error))
            return
        yield Check(name)


def read_roots(director_root: Path, ca: Path, image_root: Path | None = None) -> PinnedRoots:
    """Read the pinned roots.

    Raises:
        BenchError: a file cannot be read.
    """
    try:
        image = None if image_root is None else image_root.read_bytes()
        return PinnedRoots(director_root.read_bytes(), ca.read_bytes(), image)
    except OSError as error:
        raise BenchError(
            f"{error.filename}: {error.strerror}; it was handed over with the keys of the vehicle"
        ) from error


def _check_signature(package: Package, evidence: Evidence, roots: PinnedRoots) -> None:
    made_at = datetime.fromtimestamp(package.made_at, UTC)
    _check_certificate(package.signature, evidence, roots, at=made_at, where=SIGNATURE)
    if not is_signed(package.signature, package.manifest):
        raise Refused("manifest.json was not signed by the key of the certificate in signature.json")


def _check_certificate(
    signature: Signature, evidence: Evidence, roots: PinnedRoots, *, at: datetime, where: str
) -> None:
    try:
        problem = certificate_problem(signature.certificate, ca=roots.ca, vin=evidence.vin, at=at)
    except ValueError as error:
        raise Refused(f"the pinned CA is not a certificate ({error})") from error
    if problem:
        raise Refused(f"the certificate in {where} {problem}")


def _check_metadata(parts: Parts, evidence: Evidence, roots: PinnedRoots) -> None:
    at = document.reference_time(evidence)
    has_image = any(name.startswith(repositories.IMAGE) for name in parts)
    try:
        director = repositories.verify(parts, repositories.DIRECTOR, root=roots.director_root, at=at)
        if has_image and roots.image_root is None:
            raise Refused("there are metadata of an Image repository, and its Root was not given (--image-root)")
        if not has_image and roots.image_root is not None:
            raise Refused("the metadata of the Image repository are missing")
        images = (
            repositories.verify(parts, repositories.IMAGE, root=roots.image_root, at=at) if roots.image_root else []
        )
    except repositories.NotTrusted as error:
        raise Refused(str(error)) from error
    custom: dict[str, Any] = director[0].unrecognized_fields[MANIFEST_CUSTOM_KEY]
    if custom.get("vin") != evidence.vin:
        raise Refused(f"the metadata are those of the vehicle {custom.get('vin')}")
    for path, target in director[0].targets.items() if has_image else ():
        listed = repositories.find(images, path)
        if listed is None or not repositories.agree(listed, target):
            raise Refused(f"the Image repository does not list {path} as the Director states it")


def _check_facts(parts: Parts, evidence: Evidence) -> None:
    own = (EVIDENCE, SCHEMA, PAGE)
    sources = {name: content for name, content in parts.items() if name not in own}
    for name, content in derived_parts(evidence, sources).items():
        if name not in parts:
            raise Refused(f"{name} is missing")
        if parts[name] != content:
            raise Refused(f"{name} does not follow from the other parts")
    for name, content in sources.items():
        if name.startswith("capture/") and name.endswith(".log"):
            pcap = name.removesuffix(".log") + ".pcap"
            if parts.get(pcap) != collect.pcap_of(content):
                raise Refused(f"{pcap} does not hold the frames of {name}")


def _check_audit(parts: Parts, evidence: Evidence) -> None:
    if document.AUDIT not in parts and document.AUDIT_KEY not in parts:
        return
    for name in (document.AUDIT, document.AUDIT_KEY):
        if name not in parts:
            raise Refused(f"{name} is missing")
    try:
        lines = audit_log.read_excerpt(parts[document.AUDIT], public_key=parts[document.AUDIT_KEY])
    except ValueError as error:
        raise Refused(f"{document.AUDIT}: {error}") from error
    done = {
        str(line.get("what")): line
        for line in lines
        if line.get("campaign_id") == evidence.campaign_id and line.get("outcome") == "OK"
    }
    created, approved = done.get("CreateCampaign"), done.get("ApproveCampaign")
    if created is None:
        raise Refused(f"{document.AUDIT} does not hold who created {evidence.campaign_id}")
    if evidence.vin not in created.get("vins", ()):
        raise Refused(f"{document.AUDIT}: {evidence.campaign_id} was not created for {evidence.vin}")
    if approved is not None and approved.get("who") == created.get("who"):
        raise Refused(f"{document.AUDIT}: {evidence.campaign_id} was approved by whoever created it")
    reported = [
        str(line["state"])
        for line in lines
        if line.get("job_id") == evidence.job_id and "state" in line and line.get("outcome") == "OK"
    ]
    unknown = [state for state in reported if state not in {move.after for move in evidence.course}]
    if unknown:
        raise Refused(f"{document.AUDIT}: the vehicle reported {unknown[0]}, which is not in the job's course")


def _check_course(evidence: Evidence) -> None:
    course = evidence.course
    if not course or course[0].before != JobState.CREATED:
        raise Refused("the job does not begin in CREATED")
    for move, following in zip(course, [*course[1:], None], strict=True):
        if not is_allowed(JobState(move.before), JobState(move.after)):
            raise Refused(f"the job went from {move.before} to {move.after}, which is not allowed")
        if following is not None and following.before != move.after:
            raise Refused(f"the job was in {move.after}, and the next transition begins in {following.before}")
    if not is_final(JobState(course[-1].after)):
        raise Refused(f"the job had not ended: it was in {course[-1].after}")
    reached = {move.after for move in course}
    for state in (JobState.INSTALLING, JobState.ACTIVATING):
        if evidence.conditions and state in reached and not _held_at_leaving(evidence, state):
            raise Refused(f"the job went on from {state} while a condition was not met")


def _check_consent(parts: Parts, evidence: Evidence, roots: PinnedRoots) -> None:
    """Check that a consent was good when the download began, and one when the installation began; then the other answers."""
    _check_answers(parts, evidence, roots)
    reached = {move.after: datetime.fromisoformat(move.at) for move in evidence.course}
    custom = document.manifest_of(parts)
    for state, what in ((JobState.DOWNLOADING, "downloaded"), (JobState.INSTALLING, "installed")):
        if state not in reached:
            continue
        given = [
            each
            for each in evidence.consents
            if _covers(each.consent, state) and datetime.fromisoformat(each.at) <= reached[state]
        ]
        if not given:
            raise Refused(f"the job was {what} without the driver's consent")
        consent = given[-1].consent
        if problem := consents.problem(consent, manifest=parts[document.TARGETS], custom=custom, at=reached[state]):
            raise Refused(f"the job was {what} without the driver's consent: {problem}")
        if given[-1].signature is None:
            raise Refused(f"the job was {what} with a consent that the gateway did not sign")
        _check_record(consent, given[-1].signature, evidence, roots, what="the driver's consent")
        _check_attestation(parts, given[-1], roots)


def _check_answers(parts: Parts, evidence: Evidence, roots: PinnedRoots) -> None:
    """Check that each Later or Decline was signed and is about this manifest, and that no job was declined without one."""
    digest = consents.manifest_digest(parts[document.TARGETS])
    for each in evidence.answers:
        answer, what = each.answer, f"the driver's answer {each.answer.decision!r}"
        if (answer.vin, answer.job_id, answer.manifest_sha256) != (evidence.vin, evidence.job_id, digest):
            raise Refused(f"{what} is about another manifest")
        if each.signature is None:
            raise Refused(f"{what} was not signed by the gateway")
        _check_record(answer, each.signature, evidence, roots, what=what)
    asked = any(move.before in (JobState.WAITING_FOR_APPROVAL, JobState.DOWNLOADING) for move in evidence.course[-1:])
    declined = any(each.answer.decision == "decline" for each in evidence.answers)
    if evidence.result == JobState.REJECTED and asked and not declined:
        raise Refused("the job ended as REJECTED after the driver was asked, and no signed answer says so")


def _check_record(
    record: consents.Consent | consents.Answer,
    signature: dict[str, str],
    evidence: Evidence,
    roots: PinnedRoots,
    *,
    what: str,
) -> None:
    try:
        read = read_signature(json.dumps(signature).encode())
    except ValueError as error:
        raise Refused(f"the signature of {what} is not one: {error}") from error
    _check_certificate(read, evidence, roots, at=record.given_at, where=what)
    if not is_signed(read, consents.canonical(record)):
        raise Refused(f"{what} was not signed by the key of its certificate")


def _check_attestation(parts: Parts, given: SignedConsent, roots: PinnedRoots) -> None:
    """Compare the gateway's clock with the time that was attested for the consent, if it was."""
    if not given.attestation:
        return
    consent = given.consent
    try:
        keys = repositories.time_keys(parts, root=roots.director_root)
        attested_s = time_attestation.verify(
            bytes.fromhex(given.attestation), nonce=consents.nonce_of(consent), keys=keys
        )
    except (ValueError, repositories.NotTrusted, time_attestation.AttestationRefused) as error:
        raise Refused(f"the attested time of the driver's consent: {error}") from error
    away = datetime.fromtimestamp(attested_s, UTC) - consent.given_at
    if abs(away) > _CLOCK_TOLERANCE:
        raise Refused(
            f"the driver's consent was given at {consent.given_at.isoformat(timespec='seconds')} by the gateway's clock, "
            f"which was {abs(away).total_seconds():.0f} s away from the attested time"
        )


def _covers(consent: consents.Consent, state: JobState) -> bool:
    question = consent.shown.question
    return question.covers_download if state is JobState.DOWNLOADING else question.covers_install


def _held_at_leaving(evidence: Evidence, state: JobState) -> bool:
    """Return whether all conditions were met by the last judgement before the job left a state for the next one."""
    left = next((move for move in evidence.course if move.before == state), None)
    if left is None or left.after not in (JobState.ACTIVATING, JobState.VERIFYING):
        return True
    judged = [each.unmet for each in evidence.judgements if each.at <= left.at]
    return bool(judged) and not judged[-1]


def _check_result(evidence: Evidence) -> None:
    for image in evidence.images:
        after, before = evidence.after.get(image.ecu), evidence.before.get(image.ecu)
        if after is None or before is None:
            raise Refused(f"what {image.ecu or image.serial} ran is not there")
        if after.serial != image.serial:
            raise Refused(f"{image.ecu} has the serial number {after.serial}, the manifest is for {image.serial}")
        if evidence.result == JobState.SUCCEEDED and after.software_version != image.version:
            raise Refused(f"{image.ecu} runs {after.software_version} after the update, not {image.version}")
        if evidence.result == JobState.SUCCEEDED and image.rxswin and after.rxswin != image.rxswin:
            raise Refused(f"{image.ecu} reports the RXSWIN {after.rxswin!r} after the update, not {image.rxswin!r}")
        # A job that FAILED may have left an ECU on the new version, and says so itself. No other end may.
        changed = after.software_version != before.software_version
        if changed and evidence.result not in (JobState.SUCCEEDED, JobState.FAILED):
            raise Refused(f"{image.ecu} runs {after.software_version}, and the job ended as {evidence.result}")
