"""Certificates of a whole fleet, issued in bulk by the CA of a key folder.

Each vehicle has a key and a certificate of its own, with the subject that the cloud checks: CN is the VIN, OU is "vehicle". Making ten
thousand takes seconds, so all processors share the work, and all of a fleet are in one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from otabench.bench.errors import KeysError
from otabench.proto import private_files

LIFETIME: Final = timedelta(days=1)
_CLOCK_SKEW: Final = timedelta(hours=1)
_CHUNK: Final = 250
_FEW: Final = 100
"""So few are made faster in this process than another process starts."""

Pair = tuple[str, str]
"""Certificate and key, PEM."""


def issue(names: Sequence[str], *, unit: str, tls: Path) -> dict[str, Pair]:
    """Return certificate and key for each name.

    Args:
        names: the CN of each subject.
        unit: the OU: "vehicle" or "operator".
        tls: the folder of the CA's files.

    Raises:
        KeysError: the CA's files cannot be read.
    """
    try:
        authority = (tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes()
    except OSError as error:
        raise KeysError(f"{error.filename}: {error.strerror}: the fleet's certificates cannot be issued") from error
    parts = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    if len(names) <= _FEW:
        return _issue_part(authority, unit, names)
    made: dict[str, Pair] = {}
    # Not by fork: this process may serve threads of grpc.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for part in pool.map(_issue_part, [authority] * len(parts), [unit] * len(parts), parts):
            made |= part
    return made


def write(path: Path, pairs: Mapping[str, Pair]) -> None:
    """Write certificates and keys into one file, readable by this user only."""
    private_files.write(path, json.dumps(pairs))


def read(path: Path) -> dict[str, Pair]:
    """Return what ``write`` has written."""
    return {name: (pair[0], pair[1]) for name, pair in json.loads(path.read_bytes()).items()}


def _issue_part(authority: tuple[bytes, bytes], unit: str, names: Sequence[str]) -> dict[str, Pair]:
    issuer = x509.load_pem_x509_certificate(authority[0])
    key = serialization.load_pem_private_key(authority[1], password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "the bench's CA has this kind of key"
    return {name: _issue_one(issuer, key, unit, name) for name in names}


def _issue_one(issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey, unit: str, name: str) -> Pair:
    # ECDSA P-256: not every TLS stack supports Ed25519 certificates.
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        # OpenSSL's strict checks, which Python enables, require it.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
