"""Certificates of testers, and of the root that a simulated bootloader trusts. Made once: keys are slow to make."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from otabench.bench.uds.authentication import Credentials

NOW = datetime.now(UTC).replace(microsecond=0)


def key(name: str, *, curve: bool = False) -> Any:
    """Return a private key that is the same for the same name."""
    return _made(name, curve)


@functools.cache
def _made(_name: str, curve: bool) -> Any:
    return new_ec_key(SECP256R1()) if curve else Ed25519PrivateKey.generate()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make(
    subject: str, issuer: str, *, public: Any, signed_by: Any, ca: bool = False, from_: datetime = NOW - timedelta(1)
) -> x509.Certificate:
    """Return a certificate that is valid for ten days."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(from_)
        .not_valid_after(from_ + timedelta(10))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(signed_by, None if isinstance(signed_by, Ed25519PrivateKey) else SHA256())


@functools.cache
def root() -> x509.Certificate:
    """Return the certificate that the ECU trusts."""
    return make("root", "root", public=key("root").public_key(), signed_by=key("root"), ca=True)


def issued(*, curve: bool = False, **changes: Any) -> x509.Certificate:
    """Return a tester's certificate, with changes to a right one."""
    given = {"public": key("tester", curve=curve).public_key(), "signed_by": key("root"), **changes}
    return make("tester", str(given.pop("issuer", "root")), **given)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@functools.cache
def tester(*, curve: bool = False) -> Credentials:
    """Return what the tester has."""
    return Credentials(der(issued(curve=curve)), key("tester", curve=curve))


def write(folder: Path) -> tuple[Path, Path, Path]:
    """Write root, the tester's certificate and its key as PEM files; return their paths."""
    paths = folder / "root.pem", folder / "tester.pem", folder / "tester.key.pem"
    paths[0].write_bytes(root().public_bytes(Encoding.PEM))
    paths[1].write_bytes(issued().public_bytes(Encoding.PEM))
    paths[2].write_bytes(key("tester").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
