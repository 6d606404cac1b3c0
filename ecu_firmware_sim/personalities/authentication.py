"""Authentication (29) of a bootloader: it verifies the tester's certificate, and that the tester has its private key. Pure.

Rules (ISO 14229-1:2020, service 29, authentication with PKI certificate exchange in one direction):

* The certificate is X.509, issued directly by the one root that the ECU trusts. Each refusal has a code of its own (50 to 58).
* A challenge is used once: after a wrong proof the tester begins with its certificate again.
* The ECU forgets the tester at a reset, after S3, and by deAuthenticate.

The proof is a signature over the challenge: Ed25519, or ECDSA with SHA-256. Other authentication tasks are not supported (12).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from otabench.ecu_firmware_sim.personalities.refusal import Refused, sub_function
from otabench.ecu_firmware_sim.uds.codes import Nrc

DE_AUTHENTICATE: Final = 0x00
VERIFY_CERTIFICATE: Final = 0x01
PROOF_OF_OWNERSHIP: Final = 0x03
CONFIGURATION: Final = 0x08
# authenticationReturnParameter
_CERTIFICATE_EXCHANGE: Final = 0x02
_DE_AUTHENTICATED: Final = 0x10
_OWNERSHIP_TO_BE_PROVED: Final = 0x11
_COMPLETE: Final = 0x12
_CHALLENGE_BYTES: Final = 32

_Key = Ed25519PublicKey | EllipticCurvePublicKey


class Authentication:
    """Whom one ECU has authenticated: nobody when this is made.

    Args:
        root: the certificate whose key has signed the testers' certificates. None: no tester is trusted.
        random_bytes: source of challenges.
        now: returns the ECU's time (UTC), by which certificates are valid or not.
    """

    def __init__(
        self, root: x509.Certificate | None, random_bytes: Callable[[int], bytes], now: Callable[[], datetime]
    ) -> None:
        self._root = root
        self._random_bytes = random_bytes
        self._now = now
        self._expected: tuple[_Key, bytes] | None = None
        """The key of the certificate that was verified, and the challenge that it has to sign."""
        self.is_complete = False

    def forget(self) -> None:
        """Forget the tester."""
        self.is_complete, self._expected = False, None

    def answer(self, request: bytes) -> bytes:
        """Return the positive response to 29. Raises Refused."""
        task = sub_function(request)
        head = bytes((0x69, task))
        match task:
            case 0x00 | 0x08:
                if len(request) != 2:
                    raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
                if task == CONFIGURATION:
                    return head + bytes((_CERTIFICATE_EXCHANGE,))
                self.forget()
                return head + bytes((_DE_AUTHENTICATED,))
            case 0x01:
                return head + self._verify_certificate(request)
            case 0x03:
                return head + self._verify_proof(request)
        raise Refused(Nrc.SUB_FUNCTION_NOT_SUPPORTED)

    def _verify_certificate(self, request: bytes) -> bytes:
        # Behind the sub-function: communicationConfiguration, then two parameters with their lengths. The tester's challenge is ignored.
        certificate, _ = _parameters(request[3:])
        self.forget()
        key = self._key_of(certificate)
        challenge = self._random_bytes(_CHALLENGE_BYTES)
        self._expected = key, challenge
        # The last parameter, ephemeralPublicKeyServer, is empty: messages afterwards are not encrypted.
        return bytes((_OWNERSHIP_TO_BE_PROVED,)) + len(challenge).to_bytes(2, "big") + challenge + b"\0\0"

    def _key_of(self, data: bytes) -> _Key:
        """Verify a certificate, and return its key."""
        try:
            certificate = x509.load_der_x509_certificate(data)
            key = certificate.public_key()
            is_authority = _is_authority(certificate)
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
            raise Refused(Nrc.CERTIFICATE_INVALID_FORMAT) from error
        if self._root is None or certificate.issuer != self._root.subject:
            raise Refused(Nrc.CERTIFICATE_INVALID_CHAIN_OF_TRUST)
        try:
            certificate.verify_directly_issued_by(self._root)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise Refused(Nrc.CERTIFICATE_INVALID_SIGNATURE) from error
        if not certificate.not_valid_before_utc <= self._now() <= certificate.not_valid_after_utc:
            raise Refused(Nrc.CERTIFICATE_INVALID_TIME_PERIOD)
        if is_authority or not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
            raise Refused(Nrc.CERTIFICATE_INVALID_TYPE)
        return key

    def _verify_proof(self, request: bytes) -> bytes:
        proof, _ = _parameters(request[2:])
        expected, self._expected = self._expected, None
        if expected is None:
            raise Refused(Nrc.REQUEST_SEQUENCE_ERROR)
        key, challenge = expected
        try:
            if isinstance(key, Ed25519PublicKey):
                key.verify(proof, challenge)
            else:
                key.verify(proof, challenge, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise Refused(Nrc.OWNERSHIP_VERIFICATION_FAILED) from error
        self.is_complete = True
        # sessionKeyInfo is empty.
        return bytes((_COMPLETE,)) + b"\0\0"


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _parameters(data: bytes) -> tuple[bytes, bytes]:
    """Return two parameters, each behind its length in two bytes. Raises Refused: the first is empty, or the lengths do not fit."""
    first, rest = _parameter(data)
    second, rest = _parameter(rest)
    if rest or not first:
        raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    return first, second


def _parameter(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:2], "big")
    if len(data) < 2 + length:
        raise Refused(Nrc.INCORRECT_MESSAGE_LENGTH_OR_INVALID_FORMAT)
    return data[2 : 2 + length], data[2 + length :]
