"""Authentication (service 29, ISO 14229-1:2020) of the tester by its certificate: messages, certificate and proof. Pure but for ``load``.

    request = verify_certificate(credentials.certificate)        # 29 01
    challenge = challenge_of(answer)
    request = proof_of_ownership(credentials.sign(challenge))    # 29 03
    require_complete(answer)

This is authentication with PKI certificate exchange (APCE) in one direction: the ECU verifies the tester. Certificates are X.509 (DER on
the bus); keys are Ed25519, or ECDSA with SHA-256. Which bytes are signed is the manufacturer's choice: the flash profile has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SERVICE: Final = 0x29
_MAX_FIELD_BYTES: Final = 0xFFFF


class Task(IntEnum):
    """authenticationTask, the sub-function."""

    DE_AUTHENTICATE = 0x00
    VERIFY_CERTIFICATE_UNIDIRECTIONAL = 0x01
    PROOF_OF_OWNERSHIP = 0x03
    AUTHENTICATION_CONFIGURATION = 0x08


class Result(IntEnum):
    """authenticationReturnParameter."""

    CERTIFICATE_EXCHANGE = 0x02
    """The answer to authenticationConfiguration: this ECU takes certificates (APCE)."""
    DE_AUTHENTICATED = 0x10
    OWNERSHIP_TO_BE_PROVED = 0x11
    """The certificate is valid; the tester must prove that it has the private key."""
    COMPLETE = 0x12


class AuthenticationError(Exception):
    """A certificate, a key or an answer cannot be used. The message contains file or answer, and the reason."""


@dataclass(frozen=True)
class Credentials:
    """Certificate and private key of a tester. ``certificate``: as DER, as it is sent."""

    certificate: bytes
    _key: PrivateKeyTypes

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read both from PEM files.

        Raises:
            AuthenticationError: they cannot be read, or do not belong together.
        """
        # Imported here: every command that knows flash profiles loads this module, and few ECUs have certificates.
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

        own = load_certificate(certificate)
        try:
            private = load_pem_private_key(_read(key), password=None)
        except (ValueError, TypeError) as error:
            raise AuthenticationError(f"{key}: is not a private key in PEM without a password") from error
        if not isinstance(private, Ed25519PrivateKey | EllipticCurvePrivateKey):
            raise AuthenticationError(f"{key}: the key is neither Ed25519 nor ECDSA")
        if private.public_key() != own.public_key():
            raise AuthenticationError(f"{key}: is not the key of {certificate}")
        return cls(own.public_bytes(Encoding.DER), private)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over data."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(data)
        assert isinstance(self._key, EllipticCurvePrivateKey)
        return self._key.sign(data, ECDSA(SHA256()))


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate.

    Raises:
        AuthenticationError: it cannot be read.
    """
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise AuthenticationError(f"{path}: is not a certificate in PEM") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthenticationError(f"{path}: {error.strerror}; check the path") from error


def verify_certificate(certificate: bytes, *, communication: int = 0) -> bytes:
    """Return verifyCertificateUnidirectional (29 01), without a challenge of the tester's own.

    Args:
        certificate: as DER.
        communication: communicationConfiguration: how the messages after it are protected, 00 for not at all.
    """
    head = bytes((SERVICE, Task.VERIFY_CERTIFICATE_UNIDIRECTIONAL, communication))
    return head + _field(certificate) + _field(b"")


def proof_of_ownership(proof: bytes) -> bytes:
    """Return proofOfOwnership (29 03), without an ephemeral key."""
    return bytes((SERVICE, Task.PROOF_OF_OWNERSHIP)) + _field(proof) + _field(b"")


def challenge_of(answer: bytes) -> bytes:
    """Return challengeServer of the positive response to 29 01.

    Raises:
        AuthenticationError: the ECU expects something else next, or the response is too short.
    """
    _require_result(answer, Result.OWNERSHIP_TO_BE_PROVED)
    length = int.from_bytes(answer[3:5], "big")
    challenge = answer[5 : 5 + length]
    if len(answer) < 5 or not challenge or len(challenge) != length:
        raise AuthenticationError("the answer contains no complete challenge")
    return challenge


def require_complete(answer: bytes) -> None:
    """Check the positive response to 29 03.

    Raises:
        AuthenticationError: the ECU does not report that the tester is authenticated.
    """
    _require_result(answer, Result.COMPLETE)


def _require_result(answer: bytes, expected: Result) -> None:
    found = answer[2:3]
    if found != bytes((expected,)):
        text = f"reported {found.hex().upper() or 'nothing'}"
        raise AuthenticationError(
            f"{text} where {expected:02X} ({expected.name.lower().replace('_', ' ')}) was expected"
        )


def _field(data: bytes) -> bytes:
    """Return a parameter behind its length in two bytes."""
    if len(data) > _MAX_FIELD_BYTES:
        raise ValueError(f"{len(data)} bytes do not fit into a parameter of service 29")
    return len(data).to_bytes(2, "big") + data
