"""The cloud's processes: the MQTT broker, the control plane and the artifact server."""

from __future__ import annotations

import shutil

from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs import mosquitto as mosquitto_files
from otabench.bench.launcher.specs.config_file import write_config
from otabench.bench.launcher.specs.names import BROKER, CLOUD_ARTIFACTS, CLOUD_CONTROL
from otabench.bench.ports import LOOPBACK, is_listening
from otabench.proto.process_config import CloudConfig


def find_mosquitto() -> str | None:
    """Return the path of mosquitto; Debian installs it in a folder that is only in root's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def uses_embedded_broker(setup: RunSetup) -> bool:
    """Return whether the cloud's event plane runs the broker itself."""
    if setup.options.embedded_broker is not None:
        return setup.options.embedded_broker
    return find_mosquitto() is None


def broker(setup: RunSetup) -> ProcessSpec:
    """Return the broker: mosquitto, or the cloud's embedded one if mosquitto is not installed."""
    if uses_embedded_broker(setup):
        return _plane(setup, BROKER, "events", port=setup.ports.mqtt)
    config = mosquitto_files.write_config(
        setup.folder.root / "config" / "broker", port=setup.ports.mqtt, tls=setup.keys.tls("broker")
    )
    program = find_mosquitto() or "mosquitto"
    return _listening(setup, BROKER, [program, "-c", str(config)], port=setup.ports.mqtt)


def control_plane(setup: RunSetup) -> ProcessSpec:
    """Return the control plane."""
    return _plane(setup, CLOUD_CONTROL, "control", port=setup.ports.grpc)


def artifact_server(setup: RunSetup) -> ProcessSpec:
    """Return the artifact server."""
    return _plane(setup, CLOUD_ARTIFACTS, "artifacts", port=setup.ports.artifacts)


def _plane(setup: RunSetup, process: str, plane: str, *, port: int) -> ProcessSpec:
    state = setup.folder.state / "cloud"
    config = CloudConfig(
        state_dir=state,
        database_url=f"sqlite:///{state / 'cloud.db'}",
        artifact_store=(state / "artifacts").as_uri(),
        keys_dir=setup.keys_dir,
        grpc_host=LOOPBACK,
        grpc_port=setup.ports.grpc,
        tls=setup.keys.tls("cloud"),
        artifact_host=LOOPBACK,
        artifact_port=setup.ports.artifacts,
        artifact_base_url=f"http://{LOOPBACK}:{setup.ports.artifacts}/artifacts/",
        mqtt_host=LOOPBACK,
        mqtt_port=setup.ports.mqtt,
        mqtt_tls=None if uses_embedded_broker(setup) else setup.keys.tls("events"),
        embedded_broker=uses_embedded_broker(setup),
        poll_interval_s=setup.options.poll_interval_s,
        trace=setup.folder.trace,
    )
    return _listening(
        setup,
        process,
        [*PYTHON, "otabench.cloud", plane, "--config", str(write_config(setup, process, config))],
        port=port,
    )


def _listening(setup: RunSetup, process: str, argv: list[str], *, port: int) -> ProcessSpec:
    return ProcessSpec(
        name=process,
        argv=argv,
        log=setup.folder.log(process),
        ready=lambda: is_listening(port),
        awaited=f"its port {port} accepts no connection",
    )
