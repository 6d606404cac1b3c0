"""The offline side of the Image repository: list an image in the Targets of its supplier, and sign them.

    repository = OfflineRepository(keys_dir / "image_repository")
    operator.publish_images(repository.add([ListedImage("engine-mcu-a", "2.0.0", content, release_counter=2)]))

* The top-level Targets list nothing themselves. They delegate to one supplier for each hardware id, with a terminating rule, so that a
  supplier's key signs images for that hardware and for no other.
* Only this module reads ``targets.pem`` and the suppliers' keys. The cloud never does: it signs Snapshot and Timestamp over what it is
  given. On a bench all keys lie in one folder, and the launcher plays the offline signer.
* What was signed last is kept in ``metadata/``, so that version numbers rise over all runs with these keys.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # its public name
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (  # type: ignore[attr-defined]  # its public names
    DelegatedRole,
    Delegations,
    Metadata,
    TargetFile,
    Targets,
)
from tuf.api.serialization.json import JSONSerializer

from otabench.bench.errors import FirmwareError
from otabench.proto.normal_form import require_nfc
from otabench.proto.private_files import PrivateFileError
from otabench.proto.sealed_files import SealedFileError, Vault, read_key
from otabench.proto.uptane import PayloadCustom
from otabench.proto.version_order import path_part

LIFETIME: Final = timedelta(days=365)
"""Of what is signed offline."""
_TOP_LEVEL: Final = "targets"
_SUPPLIER: Final = "supplier-"


@dataclass(frozen=True)
class ListedImage:
    """An image as the repository lists it."""

    hardware_id: str
    version: str
    content: bytes
    release_counter: int
    payload: PayloadCustom | None = None
    """What is in a program file. None: this is an MCUboot image."""

    @property
    def path(self) -> str:
        """The target path, which is the same as in the Director's Targets."""
        digest = hashlib.sha256(self.content).hexdigest()
        return f"images/{digest}/{self.hardware_id}-{path_part(self.version)}.bin"


class OfflineRepository:
    """The offline keys and what they have signed.

    Args:
        folder: ``image_repository`` of a key folder.
        vault: of that key folder, if its private keys are sealed.
    """

    def __init__(self, folder: Path, vault: Vault | None = None) -> None:
        self._folder = folder
        self._vault = vault

    def add(self, images: Sequence[ListedImage]) -> dict[str, bytes]:
        """List images beside those already listed, and return all files to publish.

        Raises:
            FirmwareError: a key is missing, or a file cannot be read or written.
        """
        try:
            with self._locked():
                return self._add(images)
        except (OSError, ValueError, RepositoryError, PrivateFileError, SealedFileError) as error:
            raise FirmwareError(
                f"{self._folder}: the Image repository cannot be signed: {error}; `otabench keys init` makes a whole folder"
            ) from error

    def sign_again(self) -> dict[str, bytes]:
        """Sign the top-level Targets with the present key, and return all files to publish. Empty: nothing was ever listed.

        Raises:
            FirmwareError: as ``add``.
        """
        return self.add([]) if self._file(_TOP_LEVEL).exists() else {}

    def suppliers(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of each supplier's keys by hardware id, as the top-level Targets list them. Raises FirmwareError."""
        if not self._file(_TOP_LEVEL).exists():
            return {}
        try:
            delegations = Metadata[Targets].from_bytes(self._file(_TOP_LEVEL).read_bytes()).signed.delegations
        except (OSError, RepositoryError) as error:
            raise FirmwareError(f"{self._file(_TOP_LEVEL)}: not Targets: {error}; bring back a copy") from error
        roles: dict[str, DelegatedRole] = dict((delegations.roles if delegations else None) or {})
        return {name.removeprefix(_SUPPLIER): tuple(role.keyids) for name, role in roles.items()}

    def supplier_key(self, hardware_id: str) -> Path:
        """Return where a supplier's private key is."""
        return self._folder / "suppliers" / f"{hardware_id}.pem"

    def replace_supplier_key(self, hardware_id: str) -> dict[str, bytes]:
        """Give a supplier a new key, sign its Targets and the top-level ones again, and return all files to publish.

        What the old key signs no longer counts once the files are published. A cut leaves the old key in place; the next call completes it.

        Raises:
            FirmwareError: there is no such supplier, or as ``add``.
        """
        if hardware_id not in self.suppliers():
            raise FirmwareError(f"{self._folder}: there is no supplier for {hardware_id}; nothing was listed for it")
        try:
            with self._locked():
                return self._replace_supplier_key(hardware_id)
        except (OSError, ValueError, RepositoryError, PrivateFileError, SealedFileError) as error:
            raise FirmwareError(f"{self._folder}: the supplier's key cannot be replaced: {error}") from error

    def _replace_supplier_key(self, hardware_id: str) -> dict[str, bytes]:
        role, path = _role(hardware_id), self.supplier_key(hardware_id)
        fresh = path.with_name(f".{path.name}.next")
        # One that a cut has left was never published as a whole.
        fresh.unlink(missing_ok=True)
        signer = self._new_key(fresh)
        top, targets = self._load(_TOP_LEVEL), self._load(role)
        assert top.delegations is not None and top.delegations.roles is not None
        for keyid in list(top.delegations.roles[role].keyids):
            top.revoke_key(keyid, role)
        top.add_key(signer.public_key, role)
        files = {
            f"{role}.json": self._sign(targets, signer),
            f"{_TOP_LEVEL}.json": self._sign(top, self._signer(self._folder / "targets.pem")),
        }
        # The key first: metadata of a key that is lost could not be followed by others.
        fresh.replace(path)
        self._keep(files)
        return {f"{name}.json": self._file(name).read_bytes() for name in (_TOP_LEVEL, *top.delegations.roles)}

    def _add(self, images: Sequence[ListedImage]) -> dict[str, bytes]:
        top = self._load(_TOP_LEVEL)
        delegations = top.delegations or Delegations({}, {})
        suppliers: dict[str, DelegatedRole] = dict(delegations.roles or {})
        files: dict[str, bytes] = {}
        for hardware_id in sorted({image.hardware_id for image in images}):
            role = _role(hardware_id)
            signer = self._supplier(hardware_id)
            if role not in suppliers:
                suppliers[role] = DelegatedRole(role, [signer.public_key.keyid], 1, True, [f"images/*/{hardware_id}-*"])
                delegations.keys[signer.public_key.keyid] = signer.public_key
            if signer.public_key.keyid not in suppliers[role].keyids:
                # A replacement was cut off after the key and before the metadata.
                suppliers[role].keyids = [signer.public_key.keyid]
                delegations.keys[signer.public_key.keyid] = signer.public_key
            # Here, so that an older folder gains it with the next image (``bench.gateway.trust.delegations``).
            suppliers[role].unrecognized_fields["hardware_ids"] = [hardware_id]
            targets = self._load(role)
            targets.targets |= {each.path: _target(each) for each in images if each.hardware_id == hardware_id}
            files[f"{role}.json"] = self._sign(targets, signer)
        # The longest hardware id first: the rule of "mcu" matches images of "mcu-b", too, and it ends the search.
        delegations.roles = dict(sorted(suppliers.items(), key=lambda item: (-len(item[0]), item[0])))
        top.delegations = delegations
        files[f"{_TOP_LEVEL}.json"] = self._sign(top, self._signer(self._folder / "targets.pem"))
        self._keep(files)
        return {f"{role}.json": self._file(role).read_bytes() for role in (_TOP_LEVEL, *suppliers)}

    def _load(self, role: str) -> Targets:
        """Return the role's Targets with the next version and a new expiry; empty ones before the first time."""
        expires = datetime.now(UTC).replace(microsecond=0) + LIFETIME
        if not self._file(role).exists():
            return Targets(version=1, expires=expires)
        targets = Metadata[Targets].from_bytes(self._file(role).read_bytes()).signed
        targets.version += 1
        targets.expires = expires
        return targets

    def _supplier(self, hardware_id: str) -> CryptoSigner:
        path = self.supplier_key(hardware_id)
        return self._signer(path) if path.exists() else self._new_key(path)

    def _new_key(self, path: Path) -> CryptoSigner:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        key = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # The mode is set when the file is created. Between writing and chmod others could open it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(key if self._vault is None else self._vault.seal(key))
            file.flush()
            os.fsync(file.fileno())
        return self._signer(path)

    def _signer(self, path: Path) -> CryptoSigner:
        key = serialization.load_pem_private_key(read_key(path, self._vault), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path.name} is not an Ed25519 key")
        return CryptoSigner(key)

    def _sign(self, targets: Targets, signer: CryptoSigner) -> bytes:
        metadata: Metadata[Any] = Metadata(targets)
        metadata.sign(signer)
        content = metadata.to_bytes(JSONSerializer(compact=True))
        require_nfc(content)
        return content

    def _keep(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            file = self._folder / "metadata" / name
            part = file.with_name(f".{name}.part")
            part.write_bytes(content)
            part.replace(file)

    def _file(self, role: str) -> Path:
        return self._folder / "metadata" / f"{role}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from signing the same version: two benches may use one key folder."""
        (self._folder / "metadata").mkdir(exist_ok=True)
        with (self._folder / "metadata" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _role(hardware_id: str) -> str:
    return f"{_SUPPLIER}{hardware_id}"


def _target(image: ListedImage) -> TargetFile:
    custom: dict[str, Any] = {
        "hardware_id": image.hardware_id,
        "version": image.version,
        "release_counter": image.release_counter,
    }
    if image.payload is not None:
        custom["payload"] = image.payload.model_dump(mode="json", exclude_none=True)
    target = TargetFile.from_data(image.path, image.content, ["sha256", "sha512"])
    target.unrecognized_fields["custom"] = custom
    return target
