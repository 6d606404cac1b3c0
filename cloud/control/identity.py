"""Who calls, and what they may do, by the subject of the peer's certificate.

TLS has already verified that the bench's CA issued the certificate. Here only CN and OU are read:

* A vehicle has OU ``vehicle`` and may act for the VIN in its CN, and for no other.
* An operator has OU ``operator``.
* Without TLS a caller has no subject. Everyone on this machine may do everything, which is why the port is bound to loopback
  then (``server``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from otabench.cloud.errors import NotPermitted


@dataclass(frozen=True)
class Caller:
    """The subject of the peer's certificate."""

    common_name: str
    unit: str

    def __str__(self) -> str:
        return f"CN={self.common_name}, OU={self.unit}"


@lru_cache(maxsize=256)
def caller_of(certificate_pem: bytes) -> Caller:
    """Return the subject of a certificate. Cached, because every call on a connection brings the same one.

    Raises:
        NotPermitted: it is not a certificate.
    """
    try:
        subject = x509.load_pem_x509_certificate(certificate_pem).subject
    except ValueError as error:
        raise NotPermitted(f"the client certificate cannot be read: {error}") from error
    return Caller(
        common_name=_single(subject, NameOID.COMMON_NAME), unit=_single(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )


def require_vehicle(caller: Caller | None, vin: str) -> None:
    """Let the vehicle with that VIN pass, and a caller without TLS.

    Raises:
        NotPermitted: another vehicle's certificate, or not a vehicle's.
    """
    if caller is None:
        return
    if caller.unit != "vehicle":
        raise NotPermitted(f"the certificate ({caller}) is not a vehicle's: ControlPlane needs OU=vehicle")
    if caller.common_name != vin:
        raise NotPermitted(f"the certificate ({caller}) does not speak for vehicle {vin!r}")


def require_operator(caller: Caller | None) -> None:
    """Let an operator pass, and a caller without TLS.

    Raises:
        NotPermitted: not an operator's certificate.
    """
    if caller is not None and caller.unit != "operator":
        raise NotPermitted(f"the certificate ({caller}) is not an operator's: Operator needs OU=operator")


def _single(subject: x509.Name, kind: x509.ObjectIdentifier) -> str:
    # A subject with two CNs could be taken for either, so it counts as one without.
    values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(kind)]
    return values[0] if len(values) == 1 else ""
