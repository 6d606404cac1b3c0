"""The part of bench.json that is the same for the whole run: where everything is. ``clients.running_bench`` reads it."""

from __future__ import annotations

from typing import Any

from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.ports import LOOPBACK
from otabench.bench.topology import addresses


def endpoints(setup: RunSetup) -> dict[str, Any]:
    """Return the part of bench.json that holds where everything is."""
    operator = setup.keys.tls("operator")
    return {
        "vin": setup.topology.vehicle.vin,
        "hmi": f"http://localhost:{setup.ports.hmi}",
        "hmi_port": setup.ports.hmi,
        "hmi_pairing_code": setup.secrets.pairing_code,
        "cloud": {
            "grpc": f"{LOOPBACK}:{setup.ports.grpc}",
            "artifacts": f"http://{LOOPBACK}:{setup.ports.artifacts}/artifacts/",
            "operator_tls": {key: str(value) for key, value in operator.model_dump().items()},
        },
        "mqtt": f"{LOOPBACK}:{setup.ports.mqtt}",
        "control_token": setup.secrets.control_token,
        "boards": sorted(setup.topology.boards()),
        "control_ports": setup.ports.control,
        "frame_gates": setup.ports.gates,
        "bus_loads": setup.ports.loads,
        "ecus": addresses.ecu_entries(setup.topology),
        "trace": str(setup.folder.trace),
        "keys": str(setup.keys_dir),
    }
