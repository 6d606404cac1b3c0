"""An evidence file: what it holds, that it verifies with the pinned roots alone, and that no change of it passes."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otabench.bench.errors import BenchError
from otabench.bench.evidence import collect, document, package
from otabench.bench.evidence import facts as facts_of
from otabench.bench.evidence.verify import PinnedRoots, derived_parts, verify
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto.vehicle_signature import Signer
from tests.bench.evidence.run_folder import JOB, START, VIN, Run, make_run, sign_consent

MADE_AT = time.time()
"""Within the validity of the certificates, which are made in the tests. The metadata have expired long since by then."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def parts(run: Run) -> dict[str, bytes]:
    sources = collect.parts_of(run.folder, JOB)
    return complete(sources)


def complete(sources: dict[str, bytes]) -> dict[str, bytes]:
    """Return the parts with those that follow from them."""
    return {**sources, **derived_parts(document.derive(sources), sources)}


def result(path: Path, roots: PinnedRoots) -> tuple[str, str]:
    """Return the name and the problem of the last check."""
    last = list(verify(path, roots))[-1]
    return last.name, last.problem


def written(tmp_path: Path, parts: dict[str, bytes], signer: Signer, made_at: float = MADE_AT) -> Path:
    path = tmp_path / "evidence.zip"
    package.write(path, parts, signer=signer, made_at=made_at)
    return path


def test_an_honest_file_verifies_after_its_metadata_have_expired(
    run: Run, parts: dict[str, bytes], tmp_path: Path
) -> None:
    checks = list(verify(written(tmp_path, parts, run.signer()), run.roots))
    assert [(each.name, each.problem) for each in checks] == [
        (name, "") for name in ("file", "signature", "metadata", "facts", "course", "consent", "result", "audit")
    ]


@pytest.mark.clause("R156 7.1.1.2", "R156 7.1.2.3", "R156 7.1.2.4", "R156 7.1.2.5")
def test_the_facts_are_those_of_the_run(parts: dict[str, bytes]) -> None:
    facts = json.loads(parts["evidence.json"])
    assert (facts["vin"], facts["job_id"], facts["result"]) == (VIN, JOB, "SUCCEEDED")
    assert facts["images"][0] | {"hashes": ""} == {
        "ecu": "engine",
        "serial": "ENG-1",
        "hardware_id": "engine-mcu-a",
        "version": "2.0.0",
        "release_counter": 2,
        "path": "images/x",
        "length": 4,
        "hashes": "",
        "patch_sha256": "",
        "is_encrypted": False,
        "rxswin": "R79 2",
    }
    assert (facts["before"]["engine"]["software_version"], facts["after"]["engine"]["software_version"]) == (
        "1.0.0",
        "2.0.0",
    )
    assert (facts["before"]["engine"]["rxswin"], facts["after"]["engine"]["rxswin"]) == ("R79 1", "R79 2")
    assert [each["decision"] for each in facts["decisions"]] == ["later", "install"]
    assert [each["answer"]["decision"] for each in facts["answers"]] == ["later"]
    (given,) = facts["consents"]
    assert given["consent"]["shown"]["texts"]["purpose"] == "Wichtig."
    assert given["consent"]["conditions"] == [{"condition": "speed_km_h<=0", "value": 0.0, "is_met": True}]
    assert facts["conditions"] == ["speed_km_h<=0"]
    assert facts["texts"]["de"]["purpose"] == "Wichtig."
    assert [move["after"] for move in facts["course"]][-2:] == ["VERIFYING", "SUCCEEDED"]
    assert facts["trouble_codes"] == {"engine": ["U3000-55 (engine: seen)"]}
    step = facts["steps"][0]
    assert (step["request"], step["bus"], step["frames"]) == ("1002", "powertrain", [2, 4])
    assert parts["capture/powertrain.log"].count(b"\n") == 4, "only what was on the bus during the job"
    assert b"Autumn &lt;release&gt;" in parts["index.html"]
    facts_of.Evidence.model_validate(facts)
    assert json.loads(parts["schema.json"])["title"] == "Evidence"


def test_the_same_run_gives_the_same_file(run: Run, parts: dict[str, bytes]) -> None:
    again = collect.parts_of(run.folder, None)
    assert complete(again) == parts


def changes(parts: dict[str, bytes]) -> list[tuple[str, dict[str, bytes]]]:
    """Return each part with one byte changed at its beginning, middle and end, cut short, extended, and left out."""
    found = []
    for name, content in parts.items():
        for at in (0, len(content) // 2, len(content) - 1):
            flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            found.append((f"{name}: byte {at}", {**parts, name: flipped}))
        found.append((f"{name}: cut short", {**parts, name: content[:-1]}))
        found.append((f"{name}: longer", {**parts, name: content + b" "}))
        found.append((f"{name}: left out", {key: value for key, value in parts.items() if key != name}))
    found.append(("another file", {**parts, "more.txt": b"more"}))
    return found


@pytest.mark.clause("R156 7.2.1.1")
def test_every_change_of_a_part_is_found_whoever_makes_it(run: Run, parts: dict[str, bytes], tmp_path: Path) -> None:
    honest = package.manifest_of(parts, made_at=MADE_AT)
    gateway, stranger = run.signer(), run.signer(authority=CertificateAuthority())
    cases = changes(parts)
    assert len(cases) > 50
    missed = []
    for name, changed in cases:
        # 1. changed in the file; 2. with a new manifest under the old signature; 3. signed by a stranger
        for who, manifest, signature in (
            ("file", honest, gateway.sign(honest)),
            ("manifest", (new := package.manifest_of(changed, made_at=MADE_AT)), gateway.sign(honest)),
            ("stranger", new, stranger.sign(new)),
        ):
            path = tmp_path / "changed.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for part, content in {**changed, "manifest.json": manifest, "signature.json": signature}.items():
                    archive.writestr(part, content)
            if not result(path, run.roots)[1]:
                missed.append(f"{name} ({who})")
    assert missed == []


def test_even_the_gateway_cannot_change_a_part_so_that_it_still_fits(
    run: Run, parts: dict[str, bytes], tmp_path: Path
) -> None:
    """Signed by the right key: metadata are the Director's, and facts must follow from the trace. What a gateway writes into its own
    trace from the beginning cannot be found here; its ECUs' signed reports are for that."""
    derived = {"evidence.json", "schema.json", "index.html", "capture/powertrain.pcap"}
    metadata = {name for name in parts if name.startswith("metadata/") and "root_history" not in name}
    for name, changed in changes(parts):
        part = name.partition(":")[0]
        if part not in derived | metadata:
            continue
        problem = result(written(tmp_path, changed, run.signer()), run.roots)[1]
        # A blank at the end of JSON changes neither what it says nor what was signed.
        assert problem or (part in metadata and name.endswith("longer")), name


@pytest.mark.parametrize(
    ("signer", "problem"),
    [
        (lambda run: run.signer(authority=CertificateAuthority()), "is not one of the pinned CA"),
        (lambda run: run.signer(vin="W0TABENCH00000002"), "is that of W0TABENCH00000002, not of W0TABENCH00000001"),
        (lambda run: run.signer(unit="operator"), "is that of a operator, not of a vehicle"),
    ],
)
def test_another_signer_is_refused(
    run: Run, parts: dict[str, bytes], tmp_path: Path, signer: Callable[[Run], Signer], problem: str
) -> None:
    name, found = result(written(tmp_path, parts, signer(run)), run.roots)
    assert name == "signature"
    assert problem in found


def test_other_roots_refuse_it(run: Run, parts: dict[str, bytes], tmp_path: Path) -> None:
    path, roots, other = written(tmp_path, parts, run.signer()), run.roots, Run(tmp_path)
    for changed, check, problem in (
        (
            replace(roots, director_root=other.director.root()),
            "metadata",
            "metadata/director/timestamp.json does not verify",
        ),
        (
            replace(roots, image_root=other.images.first_root),
            "metadata",
            "metadata/image/timestamp.json does not verify",
        ),
        (replace(roots, image_root=None), "metadata", "its Root was not given (--image-root)"),
        (replace(roots, ca=b"no PEM"), "signature", "the pinned CA is not a certificate"),
    ):
        name, found = result(path, changed)
        assert (name, problem in found) == (check, True), found
    assert "was not valid at" in result(written(tmp_path, parts, run.signer(), made_at=0.0), roots)[1]


def test_an_image_that_the_image_repository_does_not_list_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.images.targets["targets"].targets.clear()
    run.images.publish()
    for name, content in run.images.files.items():
        if not name.endswith(".root.json"):
            (run.folder / "state/gateway/image" / name).write_bytes(content)
    sources = collect.parts_of(run.folder, JOB)
    found = result(written(tmp_path, complete(sources), run.signer()), run.roots)
    assert found == ("metadata", "the Image repository does not list images/x as the Director states it")


def without(name: str, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(events: list[dict[str, Any]]) -> None:
        events[:] = [e for e in events if e["event"] != name or any(e["data"].get(k) != v for k, v in fields.items())]

    return change


def set_field(name: str, number: int, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(events: list[dict[str, Any]]) -> None:
        [each for each in events if each["event"] == name][number]["data"].update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "check", "problem"),
    [
        (without("driver.consent"), "consent", "downloaded without the driver's consent"),
        (set_field("driver.consent", 0, signature=None), "consent", "that the gateway did not sign"),
        (set_field("driver.consent", 0, signature={}), "consent", "the signature of the driver's consent is not one"),
        (
            set_field("conditions.judged", 2, unmet=["speed_km_h is 9"]),
            "course",
            "went on from ACTIVATING while a condition",
        ),
        (without("conditions.judged"), "course", "went on from INSTALLING while a condition"),
        (without("job.state", to="INSTALLING"), "course", "the next transition begins in"),
        (without("job.state", to="SUCCEEDED"), "course", "had not ended: it was in VERIFYING"),
        (set_field("job.state", -1, to="CANCELED"), "course", "from VERIFYING to CANCELED, which is not allowed"),
        (
            set_field("ecu.identity", 1, software_version="1.0.0"),
            "result",
            "engine runs 1.0.0 after the update, not 2.0.0",
        ),
        (set_field("ecu.identity", 1, serial="ENG-2"), "result", "serial number ENG-2"),
        (set_field("job.state", -1, to="ROLLED_BACK"), "result", "runs 2.0.0, and the job ended as ROLLED_BACK"),
        (without("manifest.accepted"), "metadata", "did not accept the manifest"),
    ],
)
def test_a_story_that_does_not_hold_is_refused(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], None], check: str, problem: str
) -> None:
    run = make_run(tmp_path / "run", change=change)
    sources = collect.parts_of(run.folder, JOB)
    name, found = result(written(tmp_path, complete(sources), run.signer()), run.roots)
    assert name == check
    assert problem in found


@pytest.mark.clause("R156 7.2.2.2")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"manifest_sha256": "0" * 64}, "the consent is for another manifest"),
        ({"job_id": "job-0"}, "the consent is for job job-0"),
        ({"valid_until": START}, "the consent expired at"),
        ({"offer": "f" * 64}, "for an offer that was shown differently"),
        ({"conditions": []}, "other conditions than those of the manifest"),
        ({"given_at": START + timedelta(minutes=5)}, "the consent was given later"),
    ],
)
def test_a_signed_consent_to_something_else_is_worth_nothing(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    run = make_run(tmp_path / "run")
    manifest = (run.folder / "state/gateway/director/targets.json").read_bytes()
    found = retold(run, tmp_path, consent=sign_consent(run, manifest, **changes))
    assert found[0] == "consent"
    assert problem in found[1]


def test_texts_that_the_driver_did_not_read_make_a_consent_worth_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    manifest = (run.folder / "state/gateway/director/targets.json").read_bytes()
    shown = sign_consent(run, manifest)["consent"]["shown"]
    for changes in ({"texts": {**shown["texts"], "purpose": "Unwichtig."}}, {"language": "fr"}):
        found = retold(run, tmp_path, consent=sign_consent(run, manifest, shown={**shown, **changes}))
        assert found[0] == "consent"
        assert found[1].endswith("the driver was shown other texts than those of the manifest")


def test_a_consent_that_another_key_signed_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    manifest = (run.folder / "state/gateway/director/targets.json").read_bytes()
    stranger = sign_consent(run, manifest, signer=run.signer(authority=CertificateAuthority()))
    other_vehicle = sign_consent(run, manifest, signer=run.signer(vin="W0TABENCH00000002"))
    altered = sign_consent(run, manifest)
    altered["consent"]["who"]["session"] = "somebody else"
    for consent, problem in (
        (stranger, "the certificate in the driver's consent is not one of the pinned CA"),
        (other_vehicle, "is that of W0TABENCH00000002, not of W0TABENCH00000001"),
        (altered, "was not signed by the key of its certificate"),
    ):
        name, found = retold(run, tmp_path, consent=consent)
        assert (name, problem in found) == ("consent", True), found


def test_an_attested_time_must_be_that_of_this_consent_and_of_the_gateways_clock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    manifest = (run.folder / "state/gateway/director/targets.json").read_bytes()
    honest = sign_consent(run, manifest)
    for consent, problem in (
        (sign_consent(run, manifest, attested_at=START + timedelta(hours=1)), "3600 s away from the attested time"),
        (sign_consent(run, manifest, time_key=Ed25519PrivateKey.generate()), "signed by 0 of the time keys"),
        (
            {
                **honest,
                "attestation": sign_consent(run, manifest, given_at=START - timedelta(seconds=1))["attestation"],
            },
            "another nonce",
        ),
        ({**honest, "attestation": "no hex"}, "the attested time of the driver's consent: non-hexadecimal"),
    ):
        name, found = retold(run, tmp_path, consent=consent)
        assert (name, problem in found) == ("consent", True), found
    assert retold(run, tmp_path, consent={**honest, "attestation": ""}) == ("audit", ""), "a vehicle without a network"


def retold(run: Run, tmp_path: Path, *, consent: dict[str, Any]) -> tuple[str, str]:
    """Return the last check of a file that the gateway itself made of a trace with another consent."""
    events = [{**each, "data": consent} if each["event"] == "driver.consent" else each for each in run.events]
    trace = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events)
    (run.folder / "traces/simulation_trace.jsonl").write_text(trace)
    return result(written(tmp_path, complete(collect.parts_of(run.folder, JOB)), run.signer()), run.roots)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100])
def test_what_is_no_evidence_file_is_told(run: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    assert result(path, run.roots)[0] == "file"


def test_a_file_that_unpacks_without_end_is_refused_before_it_is_unpacked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_TOTAL_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evidence.json", b"0" * 5000)
    assert result(tmp_path / "bomb.zip", run.roots) == ("file", "it would unpack to more than 1000 bytes")


def test_a_run_without_the_jobs_metadata_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(BenchError, match=r"no-job.*|there is no job 'job-2'"):
        collect.parts_of(run.folder, "job-2")
    (run.folder / "state/gateway/director/targets.json").unlink()
    with pytest.raises(BenchError, match="evidence needs a job whose manifest was accepted"):
        collect.parts_of(run.folder, JOB)
