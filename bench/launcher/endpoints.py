"""How an ECU is reached over UDS: its ``EcuEndpoint`` and its security access secret, from bench file and key folder.

Both are needed before a bench is up (``otabench bench check`` asks a board) and by the processes of one that is
(``launcher.specs``), so they depend on the topology and the key folder alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from otabench.bench.errors import BenchError
from otabench.bench.topology.model import Topology
from otabench.bench.uds.endpoint import EcuEndpoint


def secret(topology: Topology, ecu: str, *, keys_dir: Path) -> str:
    """Return the ECU's security access secret: the bench file's, else the key folder's.

    Raises:
        BenchError: there is none.
    """
    security = topology.ecus[ecu].security
    if security.secret is not None:
        return security.secret
    path = security.secret_file or keys_dir / "ecu" / f"{ecu}.secret"
    remedy = f"ecus.{ecu}.security.secret_file names it" if security.secret_file else "make the keys anew for this file"
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BenchError(f"{path}: the security access secret of {ecu} cannot be read: {reason}; {remedy}") from error
    if not re.fullmatch(r"[0-9a-fA-F]{64}", found):
        raise BenchError(f"{path}: the security access secret of {ecu} is not 64 hexadecimal digits; {remedy}")
    return found.lower()


def endpoint(topology: Topology, ecu: str, *, keys_dir: Path) -> EcuEndpoint:
    """Return an ECU as the gateway reaches it.

    Raises:
        BenchError: its secret cannot be read.
    """
    entry = topology.ecus[ecu]
    return EcuEndpoint(
        name=ecu,
        bus=topology.buses[entry.bus].can_arguments(),
        request_id=entry.request_id,
        response_id=entry.response_id,
        functional_id=entry.functional_id,
        isotp=topology.isotp_of(ecu),
        serial=topology.serial_of(ecu),
        hardware_id=entry.hardware_id,
        profile=entry.profile,
        security_secret=secret(topology, ecu, keys_dir=keys_dir),
        security_algorithm=entry.security.algorithm,
    )


def all_endpoints(topology: Topology, *, keys_dir: Path) -> tuple[EcuEndpoint, ...]:
    """Return all ECUs as the gateway reaches them, in the bench file's order.

    Raises:
        BenchError: a secret cannot be read.
    """
    return tuple(endpoint(topology, ecu, keys_dir=keys_dir) for ecu in topology.ecus)
