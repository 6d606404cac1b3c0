"""The key folder (docs/contracts.md, "Keys"). ``init_keys`` makes it, and the cloud reads it at its start.

    init_keys(Path("keys"), vins=["WBENCH00000000001"], ecus=["engine", "adas"])

* The folder is made completely or not at all. It is never overwritten, because vehicles and ECUs have pinned its keys.
* All keys of a bench are in one folder. A production fleet would keep Root's key offline.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import CryptoSigner, Signer  # type: ignore[attr-defined]  # its public names
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names
from tuf.api.serialization.json import JSONSerializer

from otabench.cloud.errors import StartError
from otabench.cloud.names import require_safe_name
from otabench.cloud.trust.encryption import make_key_pair
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto.key_kinds import describe
from otabench.proto.process_config import EVENTS_NAME

ROOT_LIFETIME: Final = timedelta(days=365)
ROLES: Final = ("root", "targets", "snapshot", "timestamp")
ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


@dataclass(frozen=True)
class DirectorKeys:
    """The Director's keys: the Root that vehicles have pinned, and a signer for each online role."""

    root: Metadata[Root]
    signers: dict[str, Signer]


def init_keys(folder: Path, *, vins: Iterable[str], ecus: Iterable[str]) -> None:
    """Make the key folder of a bench.

    Args:
        folder: a folder that is empty or does not exist.
        vins: vehicles; each receives a client certificate.
        ecus: names of ECUs; each receives a secret for security access, and a key pair for encrypted artifacts.

    Raises:
        StartError: the folder is not empty, or cannot be written.
        ValueError: a VIN or an ECU's name cannot be part of a file name.
    """
    vins = [require_safe_name(vin, "VIN") for vin in vins]
    ecus = [require_safe_name(ecu, "ECU") for ecu in ecus]
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StartError(f"keys: {folder} exists already and is not overwritten: use it, or name another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Make the folder under a hidden name and rename it, so that a killed process does not leave half a key folder.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(unfinished, vins=vins, ecus=ecus)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise StartError(f"keys: cannot make {folder}: {error.strerror or error}") from error


def load_director_keys(keys_dir: Path) -> DirectorKeys:
    """Return the Director's newest Root, and a signer for each online role that it lists.

    Raises:
        StartError: a file is missing or malformed, or a key is not listed in Root.
    """
    folder = keys_dir / "director"
    root, _ = load_roots(folder)
    return DirectorKeys(
        root=root, signers={role: load_signer(folder / f"{role}.pem", role, root.signed) for role in ONLINE_ROLES}
    )


def load_root_versions(keys_dir: Path) -> dict[str, bytes]:
    """Return the later versions of the Director's Root (``N.root.json`` for N > 1), by the names that a TUF client requests.

    Raises:
        StartError: a file cannot be read, or does not follow the one before.
    """
    return load_roots(keys_dir / "director")[1]


def load_roots(folder: Path) -> tuple[Metadata[Root], dict[str, bytes]]:
    """Return a repository's newest Root, and the files of all but the first by name.

    ``root.json`` is the first one. ``2.root.json`` and so on must follow without a gap, each signed by the keys of the one before and by
    its own, because vehicles go the same way.

    Raises:
        StartError: a file cannot be read, or does not follow the one before.
    """
    newest = _read_root(folder / "root.json", before=None)
    later: dict[str, bytes] = {}
    while (path := folder / f"{newest.signed.version + 1}.root.json").exists():
        newest = _read_root(path, before=newest.signed)
        later[path.name] = _read(path)
    return newest, later


def _read_root(path: Path, *, before: Root | None) -> Metadata[Root]:
    try:
        root: Metadata[Root] = Metadata[Root].from_bytes(_read(path))
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        if before is not None:
            before.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError, AttributeError) as error:
        raise StartError(f"keys: {path} is not a TUF Root that follows: {error}") from error
    if before is not None and root.signed.version != before.version + 1:
        raise StartError(f"keys: {path} is version {root.signed.version}: it must be {before.version + 1}")
    return root


def load_signer(path: Path, role: str, root: Root) -> Signer:
    """Return the signer of an online role.

    Raises:
        StartError: the file is not a private key, or is not that of the role.
    """
    try:
        signer = CryptoSigner(serialization.load_pem_private_key(_read(path), password=None))
    except (ValueError, TypeError, UnsupportedAlgorithm, SecuresystemslibError) as error:
        raise StartError(f"keys: {path} is not an unencrypted private key: {error}") from error
    # A key of another folder would sign metadata that every vehicle refuses. Report that at the start already.
    if signer.public_key.keyid not in root.roles[role].keyids:
        raise StartError(
            f"keys: {path} is not the {role} key in {path.parent / 'root.json'} or the Roots after it: "
            "use the keys of one folder together"
        )
    return signer


def load_image_public_key(keys_dir: Path) -> Ed25519PublicKey:
    """Return the public key that verifies firmware images.

    Raises:
        StartError: the file is missing or is not an Ed25519 public key.
    """
    path = keys_dir / "image" / "signing.pub.pem"
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StartError(f"keys: {path} is not a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise StartError(
            f"keys: {path} is a key of the kind {describe(key)}, and the fleet's bootloaders verify Ed25519: "
            "`otabench keys init` makes one"
        )
    return key


def _fill(folder: Path, *, vins: list[str], ecus: list[str]) -> None:
    for name in ("director", "image_repository", "image", "tls", "ecu"):
        (folder / name).mkdir(mode=0o700)
    _make_director_keys(folder / "director")
    _make_image_repository_keys(folder / "image_repository")
    _make_image_key(folder / "image")
    _make_certificates(folder / "tls", vins)
    for ecu in ecus:
        _make_ecu_keys(folder / "ecu", ecu)


def _make_director_keys(folder: Path) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + ROOT_LIFETIME  # TUF's times are whole seconds
    # Without consistent snapshots file names do not contain versions. They need not: GetManifest delivers the files of a manifest together.
    root = Root(version=1, expires=expires, consistent_snapshot=False)
    signers = {}
    for role in ROLES:
        key = Ed25519PrivateKey.generate()
        signers[role] = CryptoSigner(key)
        root.add_key(signers[role].public_key, role)
        _write(folder / f"{role}.pem", _private_pem(key), _PRIVATE)
    metadata = Metadata(root)
    metadata.sign(signers["root"])
    _write(folder / "root.json", metadata.to_bytes(JSONSerializer(compact=False)), _PUBLIC)


def _make_image_repository_keys(folder: Path) -> None:
    """Make the keys of the Image repository. Two of three Root keys are needed for a new Root, so one may be lost or stolen."""
    root = Root(version=1, expires=datetime.now(UTC).replace(microsecond=0) + ROOT_LIFETIME, consistent_snapshot=False)
    metadata = Metadata(root)
    names = {role: [role] for role in ONLINE_ROLES} | {"root": [f"root-{number}" for number in (1, 2, 3)]}
    signers: dict[str, CryptoSigner] = {}
    for role, files in names.items():
        for name in files:
            key = Ed25519PrivateKey.generate()
            signers[name] = CryptoSigner(key)
            root.add_key(signers[name].public_key, role)
            _write(folder / f"{name}.pem", _private_pem(key), _PRIVATE)
    root.roles["root"].threshold = 2
    for name in names["root"][:2]:
        metadata.sign(signers[name], append=True)
    _write(folder / "root.json", metadata.to_bytes(JSONSerializer(compact=False)), _PUBLIC)


def _make_image_key(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _write(folder / "signing.pem", _private_pem(key), _PRIVATE)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "signing.pub.pem", public, _PUBLIC)


def _make_certificates(folder: Path, vins: list[str]) -> None:
    authority = CertificateAuthority()
    _write(folder / "ca.pem", authority.issued.certificate, _PUBLIC)
    _write(folder / "ca.key", authority.issued.key, _PRIVATE)
    peers = [
        ("cloud", "cloud", "cloud"),
        ("operator", "operator", "operator"),
        ("viewer", "viewer", "viewer"),
        ("broker", "broker", "cloud"),
        ("events", EVENTS_NAME, "events"),
    ]
    peers += [(f"vehicle-{vin}", vin, "vehicle") for vin in vins]
    for name, common_name, unit in peers:
        issued = authority.issue(common_name=common_name, unit=unit)
        _write(folder / f"{name}.pem", issued.certificate, _PUBLIC)
        _write(folder / f"{name}.key", issued.key, _PRIVATE)


def _make_ecu_keys(folder: Path, ecu: str) -> None:
    _write(folder / f"{ecu}.secret", secrets.token_hex(32).encode() + b"\n", _PRIVATE)
    pair = make_key_pair()
    _write(folder / f"{ecu}.x25519", pair.private_key.encode() + b"\n", _PRIVATE)
    _write(folder / f"{ecu}.x25519.pub", pair.public_key.encode() + b"\n", _PUBLIC)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    # Set the mode when the file is created. Between write_bytes and chmod others could open it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(
            f"keys: cannot read {path}: {error.strerror or error} (otabench keys init makes the folder)"
        ) from error
