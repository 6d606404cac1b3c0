"""One evidence file, changed in many ways, each of which is found and named.

Two kinds of people change it: whoever holds the file (ZIP, members, signatures), and whoever also holds the vehicle's key and signs what
was changed anew.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from otabench.bench.evidence import collect, document, package
from otabench.bench.evidence.verify import derived_parts
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY
from tests.bench.evidence.run_folder import JOB, START, Run, make_run, sign_answer, sign_consent
from tests.bench.evidence.test_evidence import MADE_AT, result

Parts = dict[str, bytes]
TRACE: Final = "trace.jsonl"
AUDIT: Final = "audit/audit.jsonl"
TARGETS: Final = "metadata/director/targets.json"
CAPTURE: Final = "capture/powertrain.log"


@dataclass
class Made:
    """The honest file."""

    run: Run
    parts: Parts
    content: bytes
    folder: Path
    other: Parts = field(default_factory=dict)
    """The parts of another vehicle's file."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("evidence")
    run = make_run(folder / "run")
    sources = collect.parts_of(run.folder, JOB)
    parts = {**sources, **derived_parts(document.derive(sources), sources)}
    path = folder / "evidence.zip"
    package.write(path, parts, signer=run.signer(), made_at=MADE_AT)
    other = make_run(folder / "other")
    return Made(run, parts, path.read_bytes(), folder, collect.parts_of(other.folder, JOB))


# --- the file, changed by whoever holds it -------------------------------------------------------------------------------------


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(files: Mapping[str, bytes], *, comment: bytes = b"", **entry: Any) -> bytes:
    """Return a ZIP as ``package`` writes it, except for what ``entry`` changes of each member's head."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = comment
        for name, content in files.items():
            head = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            head.compress_type, head.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            for attribute, value in entry.items():
                setattr(head, attribute, value)
            archive.writestr(head, content)
    return target.getvalue()


def member(name: str, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda content: zipped({n: change(c) if n == name else c for n, c in members(content).items()})


def removed(name: str) -> Callable[[bytes], bytes]:
    return lambda content: zipped({n: c for n, c in members(content).items() if n != name})


def swapped(one: str, other: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        files = members(content)
        return zipped({**files, one: files[other], other: files[one]})

    return change


def of_json(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        decoded = json.loads(content)
        change(decoded)
        return json.dumps(decoded).encode()

    return changed


def put(name: str, content: bytes) -> Callable[[bytes], bytes]:
    return lambda old: zipped({**members(old), name: content})


def twice(name: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        target = io.BytesIO(content)
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, b"another")
        return target.getvalue()

    return change


def reordered(content: bytes) -> bytes:
    files = members(content)
    return zipped({name: files[name] for name in reversed(files)})


def in_local_header(content: bytes) -> bytes:
    # The time of the first entry in its own header; readers take it from the list at the end.
    return content[:10] + b"\1" + content[11:]


FILE_CHANGES: Final[dict[str, tuple[Callable[[bytes], bytes], str]]] = {
    "trace removed": (removed(TRACE), "trace.jsonl is missing"),
    "capture removed": (removed(CAPTURE), "capture/powertrain.log is missing"),
    "audit excerpt removed": (removed(AUDIT), "audit/audit.jsonl is missing"),
    "page removed": (removed("index.html"), "index.html is missing"),
    "schema removed": (removed("schema.json"), "schema.json is missing"),
    "facts removed": (removed("evidence.json"), "evidence.json is missing"),
    "a Root removed": (removed("metadata/director/root_history/1.root.json"), "1.root.json is missing"),
    "manifest removed": (removed("manifest.json"), "manifest.json is missing"),
    "signature removed": (removed("signature.json"), "signature.json is missing"),
    "a part added": (put("notes.txt", b"x"), "notes.txt"),
    "metadata added": (put("metadata/image/extra.json", b"{}"), "metadata/image/extra.json"),
    "a part twice": (twice(TRACE), "trace.jsonl occurs twice"),
    "two parts swapped": (swapped(TRACE, CAPTURE), "capture/powertrain.log was changed"),
    "Targets of the repositories swapped": (swapped(TARGETS, "metadata/image/targets.json"), f"{TARGETS} was changed"),
    "signature and manifest swapped": (swapped("manifest.json", "signature.json"), "signature.json is not a signature"),
    "a byte of the trace": (member(TRACE, lambda old: old.replace(b"1.0.0", b"1.0.1", 1)), "trace.jsonl was changed"),
    "a byte of the page": (member("index.html", lambda old: old[:-1] + b"!"), "index.html was changed"),
    "a time in the facts": (
        member("evidence.json", lambda old: old.replace(b"T", b"t", 1)),
        "evidence.json was changed",
    ),
    "a frame of the capture": (member(CAPTURE, lambda old: old.replace(b"5002", b"5003")), f"{CAPTURE} was changed"),
    "an address of the vehicle": (member("vehicle.json", lambda old: old + b" "), "vehicle.json was changed"),
    "a hash in the manifest": (
        member("manifest.json", of_json(lambda each: each["files"][TRACE].update(sha256="0" * 64))),
        "trace.jsonl was changed",
    ),
    "a length in the manifest": (
        member("manifest.json", of_json(lambda each: each["files"][TRACE].update(length=1))),
        "trace.jsonl was changed",
    ),
    "the manifest's format": (
        member("manifest.json", of_json(lambda each: each.update(format="otabench-evidence-0"))),
        "the format 'otabench-evidence-0' is not",
    ),
    "members in another order": (reordered, "the entries were put into another order"),
    "members with a time": (lambda old: zipped(members(old), date_time=(2026, 1, 1, 0, 0, 0)), "the header of"),
    "members with other rights": (
        lambda old: zipped(members(old), external_attr=0o777 << 16),
        "the list of the entries",
    ),
    "members of another system": (lambda old: zipped(members(old), create_system=0), "the list of the entries"),
    "members that are not compressed": (
        lambda old: zipped(members(old), compress_type=zipfile.ZIP_STORED),
        "the header of",
    ),
    "a comment on the file": (lambda old: zipped(members(old), comment=b"checked"), "the list of the entries"),
    "bytes in front": (lambda old: b"#!/bin/sh\n" + old, "the header of"),
    "a time that no reader shows": (in_local_header, "the header of"),
    "cut short": (lambda old: old[:-40], "it is not a ZIP file"),
}
"""What changes the file, and what is found."""


@pytest.mark.clause("R156 7.2.1.1")
@pytest.mark.parametrize("name", FILE_CHANGES)
def test_a_change_of_the_file_is_found(made: Made, name: str) -> None:
    change, problem = FILE_CHANGES[name]
    path = made.folder / "changed.zip"
    path.write_bytes(change(made.content))
    check, found = result(path, made.run.roots)
    assert (check, problem in found) == ("file", True), found


def test_the_tests_own_way_to_write_a_file_changes_nothing(made: Made) -> None:
    assert zipped(members(made.content)) == made.content


# --- the facts, changed by the vehicle's own gateway, which signs them anew ------------------------------------------------------


def events(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Made], Parts]:
    """Return a change of the trace's events, from which the facts are derived anew."""

    def changed(made: Made) -> Parts:
        told = [json.loads(line) for line in made.parts[TRACE].splitlines()]
        change(told)
        return {**made.parts, TRACE: b"".join(json.dumps(each).encode() + b"\n" for each in told)}

    return changed


def data_of(name: str, number: int, **fields: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda told: [each for each in told if each["event"] == name][number]["data"].update(fields)


def at_of(name: str, number: int, at: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda told: [each for each in told if each["event"] == name][number].update(ts=at)


def dropped(name: str, number: int) -> Callable[[list[dict[str, Any]]], object]:
    return lambda told: told.remove([each for each in told if each["event"] == name][number])


def consent(**changes: Any) -> Callable[[Made], Parts]:
    def changed(made: Made) -> Parts:
        data = sign_consent(made.run, made.parts[TARGETS], **changes)
        return events(data_of("driver.consent", 0, **data))(made)

    return changed


def answer(**changes: Any) -> Callable[[Made], Parts]:
    def changed(made: Made) -> Parts:
        return events(data_of("driver.answer", 0, **sign_answer(made.run, made.parts[TARGETS], **changes)))(made)

    return changed


def rejected(told: list[dict[str, Any]]) -> None:
    """End the job where it was approved."""
    moves = [each for each in told if each["event"] == "job.state" and each["component"] == "gateway"]
    end = next(each for each in moves if each["data"]["to"] == "DOWNLOADING")
    end["data"]["to"] = "REJECTED"
    for each in moves[moves.index(end) + 1 :]:
        told.remove(each)


def consent_of_another_vehicle(made: Made) -> Parts:
    signer = made.run.signer(vin="W0TABENCH00000002")
    data = sign_consent(made.run, made.parts[TARGETS], signer=signer, vin="W0TABENCH00000002")
    return events(data_of("driver.consent", 0, **data))(made)


def signed(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Made], Parts]:
    def changed(made: Made) -> Parts:
        return {**made.parts, name: of_json(lambda each: change(each["signed"]))(made.parts[name])}

    return changed


def from_another_file(name: str) -> Callable[[Made], Parts]:
    return lambda made: {**made.parts, name: made.other[name]}


def without(name: str) -> Callable[[Made], Parts]:
    return lambda made: {each: content for each, content in made.parts.items() if each != name}


def line_of(number: int, change: Callable[[bytes], bytes]) -> Callable[[Made], Parts]:
    def changed(made: Made) -> Parts:
        lines = made.parts[AUDIT].splitlines(keepends=True)
        lines[number] = change(lines[number])
        return {**made.parts, AUDIT: b"".join(lines)}

    return changed


def two_lines_swapped(made: Made) -> Parts:
    first, second, *rest = made.parts[AUDIT].splitlines(keepends=True)
    return {**made.parts, AUDIT: b"".join([second, first, *rest])}


def facts(change: Callable[[dict[str, Any]], object]) -> Callable[[Made], Parts]:
    return lambda made: {**made.parts, "evidence.json": of_json(change)(made.parts["evidence.json"])}


LATER: Final = "2099-01-01T00:00:00+00:00"
SIGNED_CHANGES: Final[dict[str, tuple[Callable[[Made], Parts], str, str]]] = {
    "frame numbers": (facts(lambda each: each["steps"][0].update(frames=[1, 4])), "facts", "evidence.json does not follow"),
    "a result": (facts(lambda each: each.update(result="FAILED")), "facts", "evidence.json does not follow"),
    "a trouble code": (facts(lambda each: each.update(trouble_codes={})), "facts", "evidence.json does not follow"),
    "a judgement": (facts(lambda each: each["judgements"].pop()), "facts", "evidence.json does not follow"),
    "the page": (lambda made: {**made.parts, "index.html": b"<html>"}, "facts", "index.html does not follow"),
    "the schema": (lambda made: {**made.parts, "schema.json": b"{}"}, "facts", "schema.json does not follow"),
    "a pcap of other frames": (
        lambda made: {**made.parts, "capture/powertrain.pcap": made.parts["capture/powertrain.pcap"][:-1]},
        "facts",
        "capture/powertrain.pcap does not hold the frames",
    ),
    "an image's version": (
        signed(TARGETS, lambda each: each["targets"]["images/x"]["custom"].update(version="9.9.9")),
        "metadata",
        "metadata/director/targets.json does not verify",
    ),
    "the manifest's conditions": (
        signed(TARGETS, lambda each: each[MANIFEST_CUSTOM_KEY].update(conditions=[])),
        "metadata",
        "metadata/director/targets.json does not verify",
    ),
    "a Timestamp's expiry": (
        signed("metadata/director/timestamp.json", lambda each: each.update(expires="2099-01-01T00:00:00Z")),
        "metadata",
        "metadata/director/timestamp.json does not verify",
    ),
    "a Snapshot of another repository": (
        from_another_file("metadata/image/snapshot.json"), "metadata", "metadata/image/snapshot.json does not verify",
    ),
    "Targets of another Director": (from_another_file(TARGETS), "metadata", f"{TARGETS} does not verify"),
    "a Snapshot removed": (
        without("metadata/director/snapshot.json"), "metadata", "metadata/director/snapshot.json is missing",
    ),
    "the Image repository's Targets removed": (
        without("metadata/image/targets.json"), "metadata", "metadata/image/targets.json is missing",
    ),
    "when the manifest was accepted": (
        events(at_of("manifest.accepted", 0, LATER)), "metadata", "timestamp.json does not verify",
    ),
    "a consent of another vehicle": (consent_of_another_vehicle, "consent", "W0TABENCH00000002"),
    "a consent to another manifest": (consent(manifest_sha256="0" * 64), "consent", "another manifest"),
    "a consent that came later": (
        events(at_of("driver.consent", 0, LATER)), "consent", "downloaded without the driver's consent",
    ),
    "a consent that was given later": (consent(given_at=LATER, valid_until="2099-01-02T00:00:00+00:00"), "consent", "given later"),
    "a consent that a stranger signed": (
        lambda made: consent(signer=made.run.signer(authority=CertificateAuthority()))(made), "consent", "not one of the pinned CA",
    ),
    "an attested time": (
        consent(attested_at=START.replace(year=START.year - 1)), "consent", "away from the attested time",
    ),
    "an answer about another manifest": (answer(manifest_sha256="0" * 64), "consent", "'later' is about another manifest"),
    "an answer without a signature": (
        events(data_of("driver.answer", 0, signature=None)),
        "consent",
        "'later' was not signed by the gateway",
    ),
    "what the driver answered": (
        events(lambda told: next(e for e in told if e["event"] == "driver.answer")["data"]["answer"].update(reason="x")),
        "consent",
        "'later' was not signed by the key of its certificate",
    ),
    "a refusal that nobody signed": (events(rejected), "consent", "no signed answer says so"),
    "a state left out": (events(dropped("job.state", 3)), "course", "the next transition begins in"),
    "a state's name": (events(data_of("job.state", 2, to="SUCCEEDED")), "course", "is not allowed"),
    "a judgement left out": (
        events(lambda told: told.__setitem__(slice(None), [e for e in told if e["event"] != "conditions.judged"])),
        "course", "while a condition was not met",
    ),
    "what an ECU runs": (
        events(data_of("ecu.identity", 1, software_version="1.0.0")), "result", "runs 1.0.0 after the update",
    ),
    "an ECU's RXSWIN": (
        events(data_of("ecu.identity", 1, rxswin="R79 1")),
        "result",
        "reports the RXSWIN 'R79 1' after the update, not 'R79 2'",
    ),
    "an ECU's serial number": (events(data_of("ecu.identity", 1, serial="ENG-9")), "result", "serial number ENG-9"),
    "who created the campaign": (
        line_of(0, lambda old: old.replace(b"CN=operator", b"CN=somebody")), "audit", "line 1 was changed",
    ),
    "who approved the campaign": (
        line_of(1, lambda old: old.replace(b"CN=approver", b"CN=somebody")), "audit", "line 2 was changed",
    ),
    "when it was approved": (line_of(1, lambda old: old.replace(b'"at":"20', b'"at":"19')), "audit", "line 2 was changed"),
    "the audit log without its first line": (line_of(0, lambda _: b""), "audit", "does not hold who created"),
    "two lines of the audit log swapped": (two_lines_swapped, "audit", "line 2 has the number"),
    "the audit log's key": (
        lambda made: {**made.parts, "audit/audit.pub": b"11" * 32}, "audit", "line 1 was changed",
    ),
    "the audit log's key removed": (without("audit/audit.pub"), "audit", "audit/audit.pub is missing"),
    "another cloud's audit log": (from_another_file(AUDIT), "audit", "line 1 was changed"),
}  # fmt: skip
"""What changes the parts, which check fails, and what is found."""

DERIVED: Final = ("evidence.json", "schema.json", "index.html")


@pytest.mark.clause("R156 7.2.1.1")
@pytest.mark.parametrize("name", SIGNED_CHANGES)
def test_a_change_that_the_vehicles_own_key_signs_is_found(made: Made, name: str) -> None:
    change, check, problem = SIGNED_CHANGES[name]
    changed = change(made)
    if check != "facts":
        # Everything else fits: facts, schema and page follow from the changed parts.
        sources = {each: content for each, content in changed.items() if each not in DERIVED}
        changed = {**sources, **derived_parts(document.derive(sources), sources)}
    path = made.folder / "signed.zip"
    package.write(path, changed, signer=made.run.signer(), made_at=MADE_AT)
    failed, found = result(path, made.run.roots)
    assert (failed, problem in found) == (check, True), f"{failed}: {found}"


def test_there_are_more_than_fifty_ways(made: Made) -> None:
    assert len(FILE_CHANGES) + len(SIGNED_CHANGES) > 50
    path = made.folder / "honest.zip"
    path.write_bytes(made.content)
    assert result(path, made.run.roots) == ("audit", "")
