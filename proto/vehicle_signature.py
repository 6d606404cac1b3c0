"""Signatures of a vehicle: made with the key of the gateway's client certificate, checked with the CA that issued it.

    signature = Signer(certificate_pem, key_pem).sign(message)      # JSON
    is_signed(read_signature(signature), message)
    certificate_problem(read_signature(signature).certificate, ca=ca_pem, vin=vin, at=now)

The certificate travels with the signature. It proves nothing by itself: ``certificate_problem`` judges it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM: Final = "ECDSA-P256-SHA256"
_UNIT: Final = "vehicle"
"""The organizational unit of vehicles' certificates (cloud/trust/tls.py)."""


@dataclass(frozen=True)
class Signer:
    """The gateway's certificate and private key, as PEM."""

    certificate: bytes
    key: bytes

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, with the certificate, as JSON.

        Raises:
            ValueError: the key is not one on the curve P-256.
        """
        key = serialization.load_pem_private_key(self.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the gateway's key is not on the curve P-256")
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
        fields = {"algorithm": ALGORITHM, "certificate": self.certificate.decode(), "signature": signature.hex()}
        return (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode()


@dataclass(frozen=True)
class Signature:
    """A signature that was read, and the certificate that came with it. Neither is judged yet."""

    certificate: x509.Certificate
    signature: bytes


def read_signature(content: bytes) -> Signature:
    """Return the signature that ``Signer.sign`` wrote.

    Raises:
        ValueError: the content is not one; the message states why.
    """
    try:
        fields: dict[str, Any] = json.loads(content)
        if fields["algorithm"] != ALGORITHM:
            raise ValueError(f"the algorithm {fields['algorithm']!r} is not {ALGORITHM}")
        signature = bytes.fromhex(fields["signature"])
        return Signature(x509.load_pem_x509_certificate(str(fields["certificate"]).encode()), signature)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a field is missing or wrong ({error})") from error


def is_signed(signature: Signature, message: bytes) -> bool:
    """Return whether the certificate's key signed the message."""
    key = signature.certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature.signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def certificate_problem(certificate: x509.Certificate, *, ca: bytes, vin: str, at: datetime) -> str:
    """Return why a certificate is not that of the vehicle, as the end of a sentence that begins with "the certificate"; empty if it is.

    Args:
        certificate: as it came with a signature.
        ca: the pinned CA, as PEM.
        vin: the vehicle.
        at: when the signature was made, with a time zone.

    Raises:
        ValueError: ``ca`` is not a certificate.
    """
    issuer = x509.load_pem_x509_certificate(ca)
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return "is not one of the pinned CA"
    # Compared in UTC: a certificate has no time zone.
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        return f"was not valid at {at.astimezone(UTC).isoformat(timespec='seconds')}"
    units = _attributes(certificate, x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    if units != [_UNIT]:
        return f"is that of a {' '.join(units) or 'stranger'}, not of a vehicle"
    names = _attributes(certificate, x509.NameOID.COMMON_NAME)
    if vin not in names:
        return f"is that of {', '.join(names) or 'nobody'}, not of {vin}"
    return ""


def _attributes(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(each.value) for each in certificate.subject.get_attributes_for_oid(oid)]
