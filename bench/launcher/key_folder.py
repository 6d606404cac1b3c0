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

    def report_key(self, ecu: str) -> Path | None:
        """Return the ECU's private key for version reports; None if the key folder was made before there were any."""
        path = self.path / "ecu" / f"{ecu}.ed25519"
        return path if path.exists() else None

    def gateway_report_key(self, vin: str) -> Path | None:
        """Return the private key for version reports of a vehicle's gateway; None as for ``report_key``."""
        path = self.path / "gateway" / f"{vin}.ed25519"
        return path if path.exists() else None

    def public_keys(self, ecus: Iterable[str]) -> dict[str, bytes]:
        """Return the public keys that files are encrypted with, by ECU; ECUs without one in the folder are left out.

        Raises:
            BenchError: a key cannot be read.
        """
        return self._public_keys("ecu", ecus, "x25519")

    def public_report_keys(self, ecus: Iterable[str]) -> dict[str, bytes]:
        """Return the public keys that verify ECUs' version reports, as ``public_keys``."""
        return self._public_keys("ecu", ecus, "ed25519")

    def public_gateway_key(self, vin: str) -> bytes | None:
        """Return the public key that verifies version reports of a vehicle's gateway, as ``public_keys``; None: there is none."""
        return self._public_keys("gateway", [vin], "ed25519").get(vin)

    def _public_keys(self, folder: str, names: Iterable[str], kind: str) -> dict[str, bytes]:
        found = {}
        for name in names:
            path = self.path / folder / f"{name}.{kind}.pub"
            if not path.exists():
                continue
            try:
                found[name] = bytes.fromhex(path.read_text(encoding="ascii").strip())
            except (OSError, ValueError) as error:
                raise BenchError(
                    f"{path}: the public key of {name} cannot be read: {error}; restore it, or make a new folder of keys"
                ) from error
        return found
