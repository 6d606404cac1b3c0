"""The ECUs of a bench as the cloud registers them: identity from the bench file, what they take from their flash profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from otabench.bench.topology.model import Topology

if TYPE_CHECKING:
    from otabench.bench.clients.operator import RegisteredEcu


def ecus(topology: Topology, *, public_keys: Mapping[str, bytes]) -> Sequence[RegisteredEcu]:
    """Return all ECUs of the bench file, in its order.

    Args:
        topology: the bench file's contents.
        public_keys: X25519 keys by ECU name. Only an ECU whose flash profile sends encrypted artifacts is registered with its own.

    Raises:
        WrongUsage: a flash profile cannot be used.
    """
    from otabench.bench.clients.operator import RegisteredEcu  # grpc is slow to import
    from otabench.bench.firmware import ecu_facts

    registered = []
    for name, entry in topology.ecus.items():
        facts = ecu_facts.of(topology, name)
        registered.append(
            RegisteredEcu(
                name,
                topology.serial_of(name),
                entry.hardware_id,
                public_key=public_keys.get(name) if facts.takes_encryption else None,
                image_number=topology.image_number_of(name),
                takes_programs=facts.payload == "raw",
                takes_patches=facts.takes_deltas,
                versions=facts.versions.rule,
            )
        )
    return registered
