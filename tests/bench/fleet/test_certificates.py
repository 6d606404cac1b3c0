"""Certificates in bulk: the cloud accepts them as it accepts those of `otabench keys init`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from otabench.bench.errors import KeysError
from otabench.bench.fleet import certificates
from otabench.cloud.control.identity import Caller, caller_of
from otabench.cloud.trust.tls import CertificateAuthority


def test_each_name_gets_a_key_and_a_subject_of_its_own(tmp_path: Path) -> None:
    issued = CertificateAuthority().issued
    (tmp_path / "ca.pem").write_bytes(issued.certificate)
    (tmp_path / "ca.key").write_bytes(issued.key)

    pairs = certificates.issue(["VIN1", "VIN2"], unit="vehicle", tls=tmp_path)

    authority = x509.load_pem_x509_certificate(issued.certificate)
    made = {name: x509.load_pem_x509_certificate(pair[0].encode()) for name, pair in pairs.items()}
    for name, certificate in made.items():
        certificate.verify_directly_issued_by(authority)
        assert caller_of(pairs[name][0].encode()) == Caller(name, "vehicle")
    assert made["VIN1"].public_key() != made["VIN2"].public_key()


def test_certificates_are_written_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "vehicles.json"

    certificates.write(path, {"VIN1": ("certificate", "key")})

    assert certificates.read(path) == {"VIN1": ("certificate", "key")}
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_without_the_cas_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match=r"ca\.pem: No such file"):
        certificates.issue(["VIN1"], unit="vehicle", tls=tmp_path)
