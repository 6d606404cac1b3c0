"""The key folders (docs/contracts.md, "Keys"). ``init_keys`` makes them, and the cloud reads the online one.

    init_keys(Path("keys"), vins=["WBENCH00000000001"], ecus=["engine", "adas"])
    init_keys(Path("online"), offline=Path("/media/stick/offline"), vins=[…], ecus=[…])

* A folder is made completely or not at all. It is never overwritten, because vehicles and ECUs have pinned its keys.
* The cloud reads only the keys of the online roles. The keys that decide who else may sign (Root, the Image repository's Targets, firmware
  signing, the certificate authority) can lie in a folder of their own, which the cloud never sees. On a bench both are one folder.
* ``keyring`` reads the keys again when there is a newer Root. ``bench/keys`` makes Roots (`otabench keys rotate`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import CryptoSigner, Signer  # type: ignore[attr-defined]  # its public names
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # its public names
from tuf.api.serialization.json import JSONSerializer

from otabench.cloud.errors import StartError
from otabench.cloud.names import require_safe_name
from otabench.cloud.trust.encryption import make_key_pair
from otabench.cloud.trust.tls import CertificateAuthority
from otabench.proto import private_files
from otabench.proto.key_kinds import describe
from otabench.proto.process_config import EVENTS_NAME
from otabench.proto.sealed_files import SealedFileError, Vault
from otabench.proto.uptane import MANIFEST_CUSTOM_KEY, RootCustom, TimeKeys, time_keys_of

ROOT_LIFETIME: Final = timedelta(days=365)
ONLINE_ROLES: Final = ("targets", "snapshot", "timestamp")
ROOT_KEYS: Final = ("root-1", "root-2", "root-3")
ROOT_THRESHOLD: Final = 2
"""Two of three Root keys are needed for a new Root, so one may be lost or stolen."""
NEXT_KEY: Final = ".next.pem"
"""A key that a rotation has made for a Root that is not published yet, or was just published."""
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644


@dataclass(frozen=True)
class DirectorKeys:
    """The Director's keys: the chain of Roots that vehicles follow, and a signer for each online role."""

    roots: tuple[Metadata[Root], ...]
    """From the first, which vehicles have pinned, to the newest."""
    root_files: Mapping[str, bytes]
    """``N.root.json`` for N > 1."""
    signers: Mapping[str, Signer]
    time: Ed25519PrivateKey | None = None
    """Attests the time. None: the newest Root lists no key for that."""

    @property
    def root(self) -> Metadata[Root]:
        """The newest one."""
        return self.roots[-1]

    def current(self) -> DirectorKeys:
        """Return these keys. ``keyring.Keyring`` returns the keys that are valid now."""
        return self

    def root_version_of(self, files: Mapping[str, bytes]) -> int:
        """Return the version of the newest Root whose keys have signed a manifest; 0 if none has.

        Args:
            files: the manifest's metadata by role.
        """
        signed_by = {
            role: {each["keyid"] for each in json.loads(content)["signatures"]} for role, content in files.items()
        }
        for root in reversed(self.roots):
            roles = root.signed.roles
            if all(keyids & set(roles[role].keyids) for role, keyids in signed_by.items()):
                return root.signed.version
        return 0

    def root_files_until(self, version: int) -> dict[str, bytes]:
        """Return ``N.root.json`` for 1 < N <= ``version``."""
        wanted = {f"{number}.root.json" for number in range(2, version + 1)}
        return {name: content for name, content in self.root_files.items() if name in wanted}


def init_keys(
    folder: Path,
    *,
    vins: Iterable[str],
    ecus: Iterable[str],
    offline: Path | None = None,
    passphrase: str | None = None,
) -> None:
    """Make the keys of a bench or of a fleet.

    Args:
        folder: a folder that is empty or does not exist.
        vins: vehicles; each receives a client certificate, and a key pair for its gateway's reports.
        ecus: names of ECUs; each receives a secret for security access, a key pair for encrypted artifacts, and one for its reports.
        offline: another such folder, for the keys that the cloud must not have. None: they are in ``folder``, too.
        passphrase: seals the private keys of ``offline`` (``proto.sealed_files``). None: they are not sealed.

    Raises:
        StartError: a folder is not empty, or cannot be written.
        ValueError: a VIN or an ECU's name cannot be part of a file name.
    """
    vins = [require_safe_name(vin, "VIN") for vin in vins]
    ecus = [require_safe_name(ecu, "ECU") for ecu in ecus]
    if offline is not None and _is_within(folder, offline):
        raise StartError(f"keys: {offline} and {folder} are one inside the other: name two folders apart")
    with ExitStack() as stack:
        online_part = stack.enter_context(_new_folder(folder))
        offline_part = online_part if offline is None else stack.enter_context(_new_folder(offline))
        seal = _sealer(offline_part, passphrase) if offline is not None and passphrase is not None else _as_it_is
        _fill(online_part, offline_part, vins=vins, ecus=ecus, seal=seal)


def _sealer(folder: Path, passphrase: str) -> Callable[[bytes], bytes]:
    try:
        return Vault.create(folder, passphrase).seal
    except SealedFileError as error:
        raise StartError(f"keys: {folder}: {error}") from error


def _as_it_is(content: bytes) -> bytes:
    return content


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden folder to the block, and rename it to ``folder`` at the end. A killed process does not leave half a key folder."""
    unfinished: Path | None = None
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StartError(f"keys: {folder} exists already and is not overwritten: use it, or name another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield unfinished
        unfinished.rename(folder)
    except OSError as error:
        raise StartError(f"keys: cannot make {folder}: {error.strerror or error}") from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _is_within(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one == other or one in other.parents or other in one.parents


def load_director_keys(keys_dir: Path) -> DirectorKeys:
    """Return the Director's Roots, and a signer for each online role that the newest one lists.

    Raises:
        StartError: a file is missing or malformed, may be read by others, or a key is not listed in Root.
    """
    folder = keys_dir / "director"
    roots, files = load_roots(folder)
    newest = roots[-1].signed
    return DirectorKeys(
        roots=roots,
        root_files=files,
        signers={role: load_signer(folder / f"{role}.pem", role, newest) for role in ONLINE_ROLES},
        time=_load_time_key(folder, newest),
    )


def _load_time_key(folder: Path, newest: Root) -> Ed25519PrivateKey | None:
    try:
        listed = time_keys_of(newest.unrecognized_fields)
    except ValueError as error:
        raise StartError(
            f"keys: the newest Root in {folder} has time keys that are not well-formed: {error}"
        ) from error
    if listed is None:
        return None
    for path in (folder / "time.pem", folder / f"time{NEXT_KEY}"):
        if path.exists():
            key = _read_private_key(path)
            if isinstance(key, Ed25519PrivateKey) and raw_public(key) in listed.keys:
                return key
    raise StartError(
        f"keys: {folder / 'time.pem'} is missing, or not the time key of the newest Root: use the keys of one folder together"
    )


def raw_public(key: Ed25519PrivateKey) -> str:
    """Return the public half as 64 hexadecimal digits, as a Root lists time keys."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def load_roots(folder: Path) -> tuple[tuple[Metadata[Root], ...], dict[str, bytes]]:
    """Return a repository's Roots, and the files of all but the first by name.

    ``root.json`` is the first one. ``2.root.json`` and so on must follow without a gap, each signed by the keys of the one before and by
    its own, because vehicles go the same way.

    Raises:
        StartError: a file cannot be read, or does not follow the one before.
    """
    roots = [_read_root(folder / "root.json", before=None)]
    later: dict[str, bytes] = {}
    while (path := folder / f"{roots[-1].signed.version + 1}.root.json").exists():
        roots.append(_read_root(path, before=roots[-1].signed))
        later[path.name] = _read(path)
    return tuple(roots), later


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

    A rotation that was cut off after it had published its Root leaves the role's new key in ``ROLE.next.pem``.

    Raises:
        StartError: the file is not a private key, may be read by others, or is not that of the role.
    """
    for candidate in (path, path.with_name(f"{path.stem}{NEXT_KEY}")):
        if candidate == path or candidate.exists():
            signer = _read_signer(candidate)
            if signer.public_key.keyid in root.roles[role].keyids:
                return signer
    # A key of another folder would sign metadata that every vehicle refuses. Report that at the start already.
    raise StartError(
        f"keys: {path} is not the {role} key in {path.parent / 'root.json'} or the Roots after it: "
        "use the keys of one folder together"
    )


def _read_signer(path: Path) -> Signer:
    try:
        return CryptoSigner(_read_private_key(path))
    except SecuresystemslibError as error:
        raise StartError(f"keys: {path} is not an unencrypted private key: {error}") from error


def _read_private_key(path: Path) -> PrivateKeyTypes:
    try:
        private_files.require_private(path)
        return serialization.load_pem_private_key(_read(path), password=None)
    except private_files.PrivateFileError as error:
        raise StartError(f"keys: {error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StartError(f"keys: {path} is not an unencrypted private key: {error}") from error


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


def _fill(online: Path, offline: Path, *, vins: list[str], ecus: list[str], seal: Callable[[bytes], bytes]) -> None:
    for folder in {online, offline}:
        for name in ("director", "image_repository", "image", "tls"):
            (folder / name).mkdir(mode=0o700)
    director = _RepositoryFolders(online / "director", offline / "director", ONLINE_ROLES, seal)
    _make_repository_keys(director, attests_time=True)
    _make_repository_keys(
        _RepositoryFolders(online / "image_repository", offline / "image_repository", ("snapshot", "timestamp"), seal)
    )
    _make_image_key(online / "image", offline / "image", seal)
    _make_certificates(online / "tls", offline / "tls", vins, seal)
    for name in ("ecu", "gateway"):
        (online / name).mkdir(mode=0o700)
    for ecu in ecus:
        _make_ecu_keys(online / "ecu", ecu)
        _make_report_key(online / "ecu", ecu)
    for vin in vins:
        _make_report_key(online / "gateway", vin)


@dataclass(frozen=True)
class _RepositoryFolders:
    """Where a repository's keys go, and how those of the offline folder are sealed."""

    online: Path
    offline: Path
    online_roles: tuple[str, ...]
    seal: Callable[[bytes], bytes]

    def write_key(self, role: str, name: str, key: Ed25519PrivateKey) -> None:
        if role in self.online_roles:
            _write(self.online / f"{name}.pem", _private_pem(key), _PRIVATE)
        else:
            _write(self.offline / f"{name}.pem", self.seal(_private_pem(key)), _PRIVATE)


def _make_repository_keys(folders: _RepositoryFolders, *, attests_time: bool = False) -> None:
    """Make the keys of a repository and its first Root, which both folders hold."""
    expires = datetime.now(UTC).replace(microsecond=0) + ROOT_LIFETIME  # TUF's times are whole seconds
    # Without consistent snapshots file names do not contain versions. They need not: GetManifest delivers the files of a manifest together.
    root = Root(version=1, expires=expires, consistent_snapshot=False)
    metadata = Metadata(root)
    names = {role: [role] for role in ONLINE_ROLES} | {"root": list(ROOT_KEYS)}
    signers: dict[str, CryptoSigner] = {}
    for role, files in names.items():
        for name in files:
            key = Ed25519PrivateKey.generate()
            signers[name] = CryptoSigner(key)
            root.add_key(signers[name].public_key, role)
            folders.write_key(role, name, key)
    if attests_time:
        time_key = Ed25519PrivateKey.generate()
        _write(folders.online / "time.pem", _private_pem(time_key), _PRIVATE)
        custom = RootCustom(time=TimeKeys(keys=(raw_public(time_key),)))
        # Uptane's time server has no role in TUF. python-tuf signs and verifies members that it does not define like the others.
        root.unrecognized_fields[MANIFEST_CUSTOM_KEY] = custom.model_dump(mode="json")
    root.roles["root"].threshold = ROOT_THRESHOLD
    for name in ROOT_KEYS[:ROOT_THRESHOLD]:
        metadata.sign(signers[name], append=True)
    for folder in {folders.online, folders.offline}:
        _write(folder / "root.json", metadata.to_bytes(JSONSerializer(compact=True)), _PUBLIC)


def _make_image_key(online: Path, offline: Path, seal: Callable[[bytes], bytes]) -> None:
    key = Ed25519PrivateKey.generate()
    _write(offline / "signing.pem", seal(_private_pem(key)), _PRIVATE)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for folder in {online, offline}:
        _write(folder / "signing.pub.pem", public, _PUBLIC)


def _make_certificates(online: Path, offline: Path, vins: list[str], seal: Callable[[bytes], bytes]) -> None:
    authority = CertificateAuthority()
    _write(offline / "ca.key", seal(authority.issued.key), _PRIVATE)
    for folder in {online, offline}:
        _write(folder / "ca.pem", authority.issued.certificate, _PUBLIC)
    peers = [
        ("cloud", "cloud", "cloud"),
        ("operator", "operator", "operator"),
        ("approver", "approver", "approver"),
        ("viewer", "viewer", "viewer"),
        ("broker", "broker", "cloud"),
        ("events", EVENTS_NAME, "events"),
    ]
    peers += [(f"vehicle-{vin}", vin, "vehicle") for vin in vins]
    for name, common_name, unit in peers:
        issued = authority.issue(common_name=common_name, unit=unit)
        _write(online / f"{name}.pem", issued.certificate, _PUBLIC)
        _write(online / f"{name}.key", issued.key, _PRIVATE)


def _make_ecu_keys(folder: Path, ecu: str) -> None:
    _write(folder / f"{ecu}.secret", secrets.token_hex(32).encode() + b"\n", _PRIVATE)
    pair = make_key_pair()
    _write(folder / f"{ecu}.x25519", pair.private_key.encode() + b"\n", _PRIVATE)
    _write(folder / f"{ecu}.x25519.pub", pair.public_key.encode() + b"\n", _PUBLIC)


def _make_report_key(folder: Path, name: str) -> None:
    """Make the key that signs version reports, and its public half, which the vehicle is registered with."""
    key = Ed25519PrivateKey.generate()
    _write(folder / f"{name}.ed25519", key.private_bytes_raw().hex().encode() + b"\n", _PRIVATE)
    _write(folder / f"{name}.ed25519.pub", key.public_key().public_bytes_raw().hex().encode() + b"\n", _PUBLIC)


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
