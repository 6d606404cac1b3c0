"""A bench's key folder, for reading: where each key is, and the public keys in it. ``launcher.keys`` makes and checks one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from otabench.bench.errors import BenchError
from otabench.proto.process_config import TlsConfig


@dataclass(frozen=True)
class KeyFolder:
    """The keys of one bench below ``path``, which may not exist yet."""

    path: Path

    @property
    def director_root(self) -> Path:
        """The Director's Root metadata, pinned in gateway and ECUs."""
        return self.path / "director" / "root.json"

    @property
    def image_root(self) -> Path | None:
        """The Image repository's Root metadata, pinned in the gateway; None if the key folder was made before there was one."""
        path = self.path / "image_repository" / "root.json"
        return path if path.exists() else None

    @property
    def image_public_key(self) -> Path:
        """The key that bootloaders verify images with."""
        return self.path / "image" / "signing.pub.pem"

    def tls(self, who: str) -> TlsConfig:
        """Return the certificate of ``cloud``, ``operator`` or ``vehicle-<VIN>``."""
        folder = self.path / "tls"
        return TlsConfig(ca=folder / "ca.pem", certificate=folder / f"{who}.pem", key=folder / f"{who}.key")

    def decryption_key(self, ecu: str) -> Path | None:
        """Return the ECU's private key for encrypted files; None if the key folder was made before there were any."""
        path = self.path / "ecu" / f"{ecu}.x25519"
        return path if path.exists() else None

    def public_keys(self, ecus: Iterable[str]) -> dict[str, bytes]:
        """Return the public keys that files are encrypted with, by ECU; ECUs without one in the folder are left out.

        Raises:
            BenchError: a key cannot be read.
        """
        found = {}
        for ecu in ecus:
            path = self.path / "ecu" / f"{ecu}.x25519.pub"
            if not path.exists():
                continue
            try:
                found[ecu] = bytes.fromhex(path.read_text(encoding="ascii").strip())
            except (OSError, ValueError) as error:
                raise BenchError(
                    f"{path}: the public key of {ecu} cannot be read: {error}; make the keys anew"
                ) from error
        return found
