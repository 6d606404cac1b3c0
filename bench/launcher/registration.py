"""The vehicle of a bench as the cloud registers it: identity from the bench file, keys, and facts of the flash profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from otabench.bench.launcher.key_folder import KeyFolder
from otabench.bench.launcher.specs.personality import personality_of
from otabench.bench.topology.model import Topology

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient, RegisteredEcu


def signers(topology: Topology, keys: KeyFolder) -> Mapping[str, bytes]:
    """Return the public keys of the ECUs that sign version reports, by name.

    Only simulated ECUs with a slot table have a key of this bench. The gateway reports for boards, and for bootloaders of other kinds.

    Raises:
        BenchError: a key cannot be read.
        WrongUsage: a flash profile cannot be used.
    """
    from otabench.bench.firmware import ecu_facts

    # A vehicle's report is signed by its gateway. Without that key nobody could verify it.
    if keys.public_gateway_key(topology.vehicle.vin) is None:
        return {}
    found = keys.public_report_keys(topology.simulated())
    return {
        name: key
        for name, key in found.items()
        if personality_of(topology, name) is None and ecu_facts.of(topology, name).signs_reports
    }


def register(
    operator: OperatorClient, topology: Topology, keys: KeyFolder, *, public_keys: Mapping[str, bytes] | None = None
) -> None:
    """Register the bench's vehicle with all of its keys.

    Args:
        operator: the connection to the cloud.
        topology: the bench file's contents.
        keys: the bench's key folder.
        public_keys: X25519 keys by ECU name, instead of the key folder's.

    Raises:
        BenchError: a key cannot be read, or the cloud refuses.
        WrongUsage: a flash profile cannot be used.
    """
    vin = topology.vehicle.vin
    registered = ecus(
        topology,
        public_keys=keys.public_keys(topology.ecus) if public_keys is None else public_keys,
        report_keys=signers(topology, keys),
    )
    operator.register_vehicle(vin, registered, gateway_key=keys.public_gateway_key(vin) or b"")


def ecus(
    topology: Topology, *, public_keys: Mapping[str, bytes], report_keys: Mapping[str, bytes]
) -> Sequence[RegisteredEcu]:
    """Return all ECUs of the bench file, in its order.

    Args:
        topology: the bench file's contents.
        public_keys: X25519 keys by ECU name. Only an ECU whose flash profile sends encrypted artifacts is registered with its own.
        report_keys: Ed25519 keys by ECU name (``signers``).

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
                report_key=report_keys.get(name, b""),
            )
        )
    return registered
