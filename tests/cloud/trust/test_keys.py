"""The key folder: as in docs/contracts.md, made whole, never overwritten, and refused if its keys do not fit together."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names

from otabench.cloud.errors import StartError
from otabench.cloud.trust.image_metadata import load_image_repository_keys
from otabench.cloud.trust.keys import init_keys, load_director_keys, load_image_public_key

VIN = "W0TABENCH00000001"


def keys_init(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "otabench.cloud", "keys", "init", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_keys_init_makes_the_folder_of_the_contract(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "keys"

    done = keys_init(folder, "--vin", VIN, "--ecu", "engine", "--ecu", "adas")

    assert done.returncode == 0, done.stderr
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *(
            f"{repository}/{name}.pem"
            for repository in ("director", "image_repository")
            for name in ("root-1", "root-2", "root-3", "targets", "snapshot", "timestamp")
        ),
        "director/time.pem",
        "director/root.json",
        "image_repository/root.json",
        "image/signing.pem",
        "image/signing.pub.pem",
        "tls/ca.pem",
        "tls/ca.key",
        *(
            f"tls/{name}.{kind}"
            for name in ("cloud", "operator", "viewer", "approver", "broker", "events", f"vehicle-{VIN}")
            for kind in ("pem", "key")
        ),
        *(
            f"ecu/{name}.{kind}"
            for name in ("engine", "adas")
            for kind in ("secret", "x25519", "x25519.pub", "ed25519", "ed25519.pub")
        ),
        *(f"gateway/{VIN}.{kind}" for kind in ("ed25519", "ed25519.pub")),
    }
    suffixes = (".key", ".secret", ".x25519", ".ed25519")
    private = [p for p in folder.rglob("*") if p.suffix in suffixes or p.name == "signing.pem"]
    private += [*(folder / "director").glob("*.pem"), *(folder / "image_repository").glob("*.pem")]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert len(bytes.fromhex((folder / "ecu" / "engine.secret").read_text().strip())) == 32
    assert not list(folder.parent.glob(".*")), "an unfinished folder was left behind"


def test_a_second_keys_init_refuses_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    init_keys(folder, vins=[VIN], ecus=["engine"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    done = keys_init(folder, "--vin", VIN, "--ecu", "engine")

    assert done.returncode == 1
    assert "not overwritten" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    for vins, ecus in ((["../x"], []), ([VIN], ["../../x"])):
        with pytest.raises(ValueError, match="letters, digits"):
            init_keys(tmp_path / "keys", vins=vins, ecus=ecus)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("repository", ["director", "image_repository"])
def test_two_of_three_root_keys_sign_and_every_other_role_has_one(keys_dir: Path, repository: str) -> None:
    root = Metadata[Root].from_file(str(keys_dir / repository / "root.json"))

    assert root.signed.version == 1
    assert root.signed.consistent_snapshot is False
    assert {key.keytype for key in root.signed.keys.values()} == {"ed25519"}
    facts = {name: (role.threshold, len(role.keyids)) for name, role in root.signed.roles.items()}
    assert facts == {"root": (2, 3), "targets": (1, 1), "snapshot": (1, 1), "timestamp": (1, 1)}
    assert len(root.signed.keys) == 6, "every role has keys of its own"
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)


def test_the_cloud_starts_without_what_is_in_the_offline_folder(tmp_path: Path) -> None:
    offline, online = tmp_path / "stick/offline", tmp_path / "online"

    init_keys(online, offline=offline, vins=[VIN], ecus=["engine"])

    assert {str(file.relative_to(offline)) for file in offline.rglob("*") if file.suffix in (".pem", ".key")} == {
        *(f"{name}/root-{number}.pem" for name in ("director", "image_repository") for number in (1, 2, 3)),
        *("image_repository/targets.pem", "image/signing.pem", "image/signing.pub.pem", "tls/ca.pem", "tls/ca.key"),
    }
    online_names = {file.name for file in online.rglob("*")}
    assert not online_names & {"root-1.pem", "signing.pem", "ca.key"}
    assert not (online / "image_repository/targets.pem").exists()
    assert {folder.stat().st_mode & 0o777 for folder in (offline, online, *online.glob("*/"))} == {0o700}
    load_director_keys(online)
    assert load_image_repository_keys(online) is not None


def test_a_folder_inside_the_other_is_refused_and_neither_is_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="one inside the other"):
        init_keys(tmp_path / "keys", offline=tmp_path / "keys" / "offline", vins=[VIN], ecus=[])
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    with pytest.raises(StartError, match="not overwritten"):
        init_keys(tmp_path / "keys", offline=tmp_path / "used", vins=[VIN], ecus=[])
    assert {path.name for path in tmp_path.iterdir()} == {"used"}


def test_a_key_that_others_may_read_is_refused(keys_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(keys_dir, tmp_path / "keys")
    (tmp_path / "keys/director/snapshot.pem").chmod(0o640)

    with pytest.raises(StartError, match=r"snapshot\.pem: others may use this file \(mode 0640\); `chmod 600"):
        load_director_keys(tmp_path / "keys")


def test_certificates_identify_the_peer_and_are_of_the_benchs_ca(keys_dir: Path) -> None:
    ca = x509.load_pem_x509_certificate((keys_dir / "tls" / "ca.pem").read_bytes())
    vin = next(path.stem.removeprefix("vehicle-") for path in (keys_dir / "tls").glob("vehicle-*.pem"))
    subjects = {"cloud": ("cloud", "cloud"), "operator": ("operator", "operator"), f"vehicle-{vin}": (vin, "vehicle")}
    for name, (common_name, unit) in subjects.items():
        certificate = x509.load_pem_x509_certificate((keys_dir / "tls" / f"{name}.pem").read_bytes())
        certificate.verify_directly_issued_by(ca)
        named = {attribute.oid: attribute.value for attribute in certificate.subject}
        assert named[x509.NameOID.COMMON_NAME] == common_name
        assert named[x509.NameOID.ORGANIZATIONAL_UNIT_NAME] == unit


def test_a_directors_key_of_another_folder_is_refused(keys_dir: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(keys_dir, mixed)
    (mixed / "director" / "targets.pem").write_bytes((keys_dir / "director" / "snapshot.pem").read_bytes())

    with pytest.raises(StartError, match=r"targets\.pem is not the targets key"):
        load_director_keys(mixed)


@pytest.mark.parametrize("damage", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_named(keys_dir: Path, tmp_path: Path, damage: str) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(keys_dir, damaged)
    for path in (damaged / "director" / "timestamp.pem", damaged / "image" / "signing.pub.pem"):
        path.write_text(damage)

    with pytest.raises(StartError, match=r"timestamp\.pem"):
        load_director_keys(damaged)
    with pytest.raises(StartError, match=r"signing\.pub\.pem"):
        load_image_public_key(damaged)


def test_the_image_key_pair_fits_together(keys_dir: Path) -> None:
    private = serialization.load_pem_private_key((keys_dir / "image" / "signing.pem").read_bytes(), password=None)

    assert isinstance(private, Ed25519PrivateKey)
    load_image_public_key(keys_dir).verify(private.sign(b"x"), b"x")
