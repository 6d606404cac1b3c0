"""The gateway's process."""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.clients.hmi import HmiClient
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.launcher import endpoints, registration
from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs.cloud import uses_embedded_broker
from otabench.bench.launcher.specs.config_file import write_config
from otabench.bench.launcher.specs.names import GATEWAY
from otabench.bench.ports import LOOPBACK
from otabench.bench.uds.endpoint import EcuEndpoint, FormerImage


def gateway(
    setup: RunSetup,
    *,
    factory: Mapping[str, FirmwareFile] | None = None,
    stop_before: str = "",
    line_payload_bytes_per_s: float = 28_000.0,
) -> ProcessSpec:
    """Return the gateway of the vehicle. ``factory``: what the simulated ECUs were delivered with."""
    timing = {"poll_interval_s": setup.options.poll_interval_s, **setup.options.gateway_timing}
    signers = registration.signers(setup.topology, setup.keys)
    config = GatewayConfig(
        vin=setup.topology.vehicle.vin,
        ecus=tuple(
            _with_former_image(each, (factory or {}).get(each.name)).model_copy(
                update={"signs_reports": each.name in signers}
            )
            for each in endpoints.all_endpoints(setup.topology, keys_dir=setup.keys_dir)
        ),
        state_dir=setup.folder.state / GATEWAY,
        director_root=setup.keys.director_root,
        image_root=setup.keys.image_root,
        report_key=setup.keys.gateway_report_key(setup.topology.vehicle.vin),
        cloud_grpc=f"{LOOPBACK}:{setup.ports.grpc}",
        tls=setup.keys.tls(f"vehicle-{setup.topology.vehicle.vin}"),
        mqtt_host=LOOPBACK,
        mqtt_port=setup.ports.mqtt,
        mqtt_tls=None if uses_embedded_broker(setup) else setup.keys.tls(f"vehicle-{setup.topology.vehicle.vin}"),
        hmi_host=LOOPBACK,
        hmi_port=setup.ports.hmi,
        hmi_pairing_code=setup.secrets.pairing_code,
        conditions=setup.topology.condition_sources(),
        inhibit=setup.topology.vehicle.inhibit,
        time_zone=setup.topology.vehicle.time_zone,
        line_payload_bytes_per_s=line_payload_bytes_per_s,
        timing=GatewayTiming.model_validate(timing),
        trace=setup.folder.trace,
        stop_before=stop_before,
    )
    return ProcessSpec(
        name=GATEWAY,
        argv=[*PYTHON, "otabench.bench.gateway", "--config", str(write_config(setup, GATEWAY, config))],
        log=setup.folder.log(GATEWAY),
        ready=HmiClient(setup.ports.hmi).is_up,
        awaited=f"the driver's page on port {setup.ports.hmi} does not answer",
        ends_itself=bool(stop_before),
    )


def _with_former_image(ecu: EcuEndpoint, factory: FirmwareFile | None) -> EcuEndpoint:
    """Return an ECU with the image that it was delivered with, for a rollback of its first update."""
    if factory is None or ecu.former_image is not None or factory.payload is None:
        return ecu
    former = FormerImage(
        version=factory.version,
        file=factory.path,
        file_format=factory.payload.format,
        start_address=factory.payload.start_address,
    )
    return ecu.model_copy(update={"former_image": former})
