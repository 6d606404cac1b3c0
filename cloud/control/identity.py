"""Identify a caller by the subject of its certificate, and check what it may do.

TLS has verified before that the bench's CA issued the certificate. This module only reads CN and OU:

* A vehicle has OU ``vehicle``. It may act only for the VIN in its CN.
* An operator has OU ``operator``, and creates campaigns. An approver has OU ``approver``, and approves those of others. Both may abort one.
  A viewer has OU ``viewer``. All three may call what only reads.
* Without TLS there is no certificate, and every caller may do everything. Therefore the port is bound to loopback then (``server``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from otabench.cloud.errors import NotPermitted

OPERATORS: Final = frozenset({"operator"})
APPROVERS: Final = frozenset({"approver"})
ABORTERS: Final = OPERATORS | APPROVERS
"""Who may cancel campaigns and abandon jobs."""
READERS: Final = ABORTERS | {"viewer"}
"""Who may call what only reads."""


@dataclass(frozen=True)
class Caller:
    """The subject of the peer's certificate."""

    common_name: str
    unit: str

    def __str__(self) -> str:
        return f"{self.person}OU={self.unit}"

    @property
    def person(self) -> str:
        """The beginning of the text that is the same for all roles of one person."""
        return f"CN={self.common_name}, "


@lru_cache(maxsize=10_000)
def caller_of(certificate_pem: bytes) -> Caller:
    """Return the subject of a certificate. It is cached, because every call on a connection has the same one.

    Raises:
        NotPermitted: the bytes are not a certificate.
    """
    try:
        subject = x509.load_pem_x509_certificate(certificate_pem).subject
    except ValueError as error:
        raise NotPermitted(f"the client certificate cannot be read: {error}") from error
    return Caller(
        common_name=_single(subject, NameOID.COMMON_NAME), unit=_single(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )


def require_vehicle(caller: Caller | None, vin: str) -> None:
    """Check that the caller is the vehicle with that VIN, or connects without TLS.

    Raises:
        NotPermitted: the certificate belongs to another vehicle, or not to a vehicle.
    """
    if caller is None:
        return
    if caller.unit != "vehicle":
        raise NotPermitted(f"the certificate ({caller}) is not a vehicle's: ControlPlane needs OU=vehicle")
    if caller.common_name != vin:
        raise NotPermitted(f"the certificate ({caller}) does not belong to vehicle {vin!r}")


def require_operator(caller: Caller | None, units: frozenset[str] = OPERATORS) -> None:
    """Check that the caller has one of the roles, or connects without TLS.

    Raises:
        NotPermitted: the certificate has another role.
    """
    if caller is not None and caller.unit not in units:
        wanted = " or ".join(f"OU={unit}" for unit in sorted(units))
        raise NotPermitted(f"the certificate ({caller}) does not permit this call: it needs {wanted}")


def _single(subject: x509.Name, kind: x509.ObjectIdentifier) -> str:
    # A subject with two CNs is ambiguous: another reader might take the other one. Treat it as a subject without CN.
    values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(kind)]
    return values[0] if len(values) == 1 else ""
