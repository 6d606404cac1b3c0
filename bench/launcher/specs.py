"""The configuration file and the command line of each process of the bench, made from bench file and options.

Nothing is started here; the only side effect is writing the configuration files. Ports are chosen in ``launcher.prepare``.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from otabench.bench.clients.hmi import HmiClient
from otabench.bench.errors import BenchError, WrongUsage
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.faults.frame_gate import far_channel
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.gateway.config import GatewayConfig, GatewayTiming
from otabench.bench.launcher import endpoints
from otabench.bench.launcher.options import BenchOptions
from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.launcher.run_folder import RunFolder
from otabench.bench.ports import LOOPBACK, is_listening
from otabench.bench.topology import addresses
from otabench.bench.topology.model import Topology
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import FlashError
from otabench.proto.process_config import CloudConfig, EcuConfig, EcuTiming, TlsConfig

BROKER: Final = "broker"
CLOUD_CONTROL: Final = "cloud-control"
CLOUD_ARTIFACTS: Final = "cloud-artifacts"
GATEWAY: Final = "gateway"


def ecu_process(ecu: str) -> str:
    """Return the name of a simulated ECU's process."""
    return f"ecu-{ecu}"


def gate_process(bus: str) -> str:
    """Return the name of the process that is a bus's frame gate."""
    return f"gate-{bus}"


def load_process(bus: str) -> str:
    """Return the name of the process that loads a bus."""
    return f"load-{bus}"


def capture_process(bus: str) -> str:
    """Return the name of the process that captures a bus."""
    return f"can-{bus}"


@dataclass(frozen=True)
class Ports:
    """The ports of loopback that the processes listen on."""

    grpc: int
    artifacts: int
    mqtt: int
    hmi: int
    control: dict[str, int]
    gates: dict[str, int] = field(default_factory=dict)
    """Control ports of frame gates, by bus."""
    loads: dict[str, int] = field(default_factory=dict)
    """Control ports of loads, by bus."""


@dataclass(frozen=True)
class ProcessSetup:
    """Makes the specifications of all processes of one run."""

    topology: Topology
    options: BenchOptions
    folder: RunFolder
    keys_dir: Path
    ports: Ports

    @property
    def embedded_broker(self) -> bool:
        """Whether the cloud's event plane runs the broker itself."""
        if self.options.embedded_broker is not None:
            return self.options.embedded_broker
        return find_mosquitto() is None

    def tls(self, who: str) -> TlsConfig:
        """Certificate of ``cloud``, ``operator`` or ``vehicle-<VIN>``."""
        tls = self.keys_dir / "tls"
        return TlsConfig(ca=tls / "ca.pem", certificate=tls / f"{who}.pem", key=tls / f"{who}.key")

    def decryption_key(self, ecu: str) -> Path | None:
        """Return the ECU's private key for encrypted files; None if the key folder was made before there were any."""
        path = self.keys_dir / "ecu" / f"{ecu}.x25519"
        return path if path.exists() else None

    def public_keys(self) -> dict[str, bytes]:
        """Return the public keys that files are encrypted with, by ECU; ECUs without one in the key folder are left out.

        Raises:
            BenchError: a key cannot be read.
        """
        found = {}
        for ecu in self.topology.ecus:
            path = self.keys_dir / "ecu" / f"{ecu}.x25519.pub"
            if not path.exists():
                continue
            try:
                found[ecu] = bytes.fromhex(path.read_text(encoding="ascii").strip())
            except (OSError, ValueError) as error:
                raise BenchError(
                    f"{path}: the public key of {ecu} cannot be read: {error}; make the keys anew"
                ) from error
        return found

    def broker(self) -> ProcessSpec:
        """Return the broker: mosquitto, or the cloud's embedded one if mosquitto is not installed."""
        if self.embedded_broker:
            return self._cloud(BROKER, "events", port=self.ports.mqtt)
        config = self.folder.root / "config" / "mosquitto.conf"
        config.write_text(
            f"listener {self.ports.mqtt} {LOOPBACK}\nallow_anonymous true\npersistence false\nuser root\nlog_dest stderr\n",
            encoding="utf-8",
        )
        mosquitto = find_mosquitto() or "mosquitto"
        return self._spec(BROKER, [mosquitto, "-c", str(config)], port=self.ports.mqtt)

    def cloud_control(self) -> ProcessSpec:
        """Return the control plane."""
        return self._cloud(CLOUD_CONTROL, "control", port=self.ports.grpc)

    def cloud_artifacts(self) -> ProcessSpec:
        """Return the artifact server."""
        return self._cloud(CLOUD_ARTIFACTS, "artifacts", port=self.ports.artifacts)

    def ecu(self, name: str, factory: FirmwareFile) -> ProcessSpec:
        """Return a simulated ECU, delivered with ``factory``.

        Raises:
            WrongUsage: its trial ends before the gateway's soak does.
        """
        entry = self.topology.ecus[name]
        process = ecu_process(name)
        config = EcuConfig(
            name=name,
            vin=self.topology.vehicle.vin,
            serial=self.topology.serial_of(name),
            hardware_id=entry.hardware_id,
            part_number=self.topology.part_number_of(name),
            bus=self._ecu_side(entry.bus),
            request_id=entry.request_id,
            response_id=entry.response_id,
            functional_id=entry.functional_id,
            isotp=self.topology.isotp_of(name),
            timing=self._ecu_timing(name),
            security_secret=endpoints.secret(self.topology, name, keys_dir=self.keys_dir),
            security_algorithm=entry.security.algorithm,
            state_file=self.folder.state / f"{process}.bin",
            factory_image=factory.path,
            factory_versions={self.topology.image_number_of(ecu): factory.version for ecu in self.topology.simulated()},
            image_public_key=self.keys_dir / "image" / "signing.pub.pem",
            director_root=self.keys_dir / "director" / "root.json",
            decryption_key=self.decryption_key(name),
            slot_size_bytes=entry.slot_size_bytes,
            declared_ram_bytes=entry.declared_ram_bytes,
            control_port=self.ports.control[name],
            trace=self.folder.trace,
            periodic=entry.periodic,
        )
        control = ControlPort(name, self.ports.control[name])
        return ProcessSpec(
            name=process,
            argv=[*PYTHON, "otabench.ecu_firmware_sim", "--config", str(self._write(process, config))],
            log=self.folder.log(process),
            ready=control.is_up,
        )

    def _ecu_timing(self, name: str) -> EcuTiming:
        entry = self.topology.ecus[name]
        timing = EcuTiming.model_validate({**entry.timing.model_dump(), **self.options.ecu_timing})
        soak_s = self.options.gateway_timing.get("soak_s")
        if soak_s is None:
            from otabench.bench.uds import profile  # here, because it imports the whole flashing client

            try:
                soak_s = profile.load(entry.profile).soak.time_s
            except FlashError:
                return timing  # the gateway reports what is wrong with the profile
        if soak_s >= timing.trial_confirm_timeout_s:
            raise WrongUsage(
                f"ecus.{name}.timing.trial_confirm_timeout_s: {timing.trial_confirm_timeout_s:g} s, but the gateway watches "
                f"trials for {soak_s:g} s (soak) before it confirms them: every update would be rolled back; give the ECU "
                "longer, or shorten the soak (soak_s of the gateway's timing, or soak.time_s of the flash profile)"
            )
        return timing

    def ecu_endpoints(self) -> tuple[EcuEndpoint, ...]:
        """Return all ECUs as the gateway reaches them, in the bench file's order.

        Raises:
            BenchError: a secret cannot be read.
        """
        return tuple(endpoints.endpoint(self.topology, name, keys_dir=self.keys_dir) for name in self.topology.ecus)

    def gateway(self, *, stop_before: str = "", line_payload_bytes_per_s: float = 28_000.0) -> ProcessSpec:
        """Return the gateway of the vehicle."""
        timing = {"poll_interval_s": self.options.poll_interval_s, **self.options.gateway_timing}
        config = GatewayConfig(
            vin=self.topology.vehicle.vin,
            ecus=self.ecu_endpoints(),
            state_dir=self.folder.state / GATEWAY,
            director_root=self.keys_dir / "director" / "root.json",
            cloud_grpc=f"{LOOPBACK}:{self.ports.grpc}",
            tls=self.tls(f"vehicle-{self.topology.vehicle.vin}"),
            mqtt_host=LOOPBACK,
            mqtt_port=self.ports.mqtt,
            hmi_host=LOOPBACK,
            hmi_port=self.ports.hmi,
            line_payload_bytes_per_s=line_payload_bytes_per_s,
            timing=GatewayTiming.model_validate(timing),
            trace=self.folder.trace,
            stop_before=stop_before,
        )
        return ProcessSpec(
            name=GATEWAY,
            argv=[*PYTHON, "otabench.bench.gateway", "--config", str(self._write(GATEWAY, config))],
            log=self.folder.log(GATEWAY),
            ready=HmiClient(self.ports.hmi).is_up,
            ends_itself=bool(stop_before),
        )

    def frame_gate(self, bus: str) -> ProcessSpec:
        """Return the frame gate of a bus."""
        channel, port = str(self.topology.buses[bus].channel), self.ports.gates[bus]
        process = gate_process(bus)
        return ProcessSpec(
            name=process,
            argv=[*PYTHON, "otabench.bench.faults.frame_gate", "--near", channel, "--control-port", str(port)],
            log=self.folder.log(process),
            ready=ControlPort(process, port).is_up,
        )

    def bus_load(self, bus: str) -> ProcessSpec:
        """Return the load of a bus. It does not use the identifiers of the ECUs on that bus."""
        entry, port, process = self.topology.buses[bus], self.ports.loads[bus], load_process(bus)
        config = {"can": entry.can_arguments(), "bitrate": entry.bitrate, "data_bitrate": entry.data_bitrate}
        avoid = sorted(self.topology.identifiers_on(bus))
        argv = ["--bus", json.dumps(config), "--name", bus, "--control-port", str(port), "--avoid", *map(str, avoid)]
        return ProcessSpec(
            name=process,
            argv=[*PYTHON, "otabench.bench.faults.bus_load", *argv],
            log=self.folder.log(process),
            ready=ControlPort(bus, port, what="load of bus").is_up,
        )

    def _ecu_side(self, bus: str) -> dict[str, Any]:
        arguments = self.topology.buses[bus].can_arguments()
        return (
            {**arguments, "channel": far_channel(str(arguments["channel"]))} if bus in self.ports.gates else arguments
        )

    def capture(self, bus: str) -> ProcessSpec:
        """Return the capture of a bus."""
        entry = self.topology.buses[bus]
        process = capture_process(bus)
        config = {
            "can": entry.can_arguments(),
            "bitrate": entry.bitrate,
            "data_bitrate": entry.data_bitrate or entry.bitrate,
            "extended_ids": addresses.extended_ids(self.topology, bus),
        }
        out = self.folder.can / bus
        return ProcessSpec(
            name=process,
            argv=[*PYTHON, "otabench.bench.captures.recorder", "--bus", json.dumps(config), "--out", str(out)],
            log=self.folder.log(process),
            ready=out.with_name(out.name + ".pcap").exists,
        )

    def _cloud(self, process: str, plane: str, *, port: int) -> ProcessSpec:
        state = self.folder.state / "cloud"
        config = CloudConfig(
            state_dir=state,
            database_url=f"sqlite:///{state / 'cloud.db'}",
            artifact_store=(state / "artifacts").as_uri(),
            keys_dir=self.keys_dir,
            grpc_host=LOOPBACK,
            grpc_port=self.ports.grpc,
            tls=self.tls("cloud"),
            artifact_host=LOOPBACK,
            artifact_port=self.ports.artifacts,
            artifact_base_url=f"http://{LOOPBACK}:{self.ports.artifacts}/artifacts/",
            mqtt_host=LOOPBACK,
            mqtt_port=self.ports.mqtt,
            embedded_broker=self.embedded_broker,
            poll_interval_s=self.options.poll_interval_s,
            trace=self.folder.trace,
        )
        return self._spec(
            process, [*PYTHON, "otabench.cloud", plane, "--config", str(self._write(process, config))], port=port
        )

    def _spec(self, process: str, argv: list[str], *, port: int) -> ProcessSpec:
        return ProcessSpec(name=process, argv=argv, log=self.folder.log(process), ready=lambda: is_listening(port))

    def _write(self, process: str, config: BaseModel) -> Path:
        path = self.folder.config(process)
        path.touch(mode=0o600)  # it may hold secrets
        path.write_text(config.model_dump_json(indent=1), encoding="utf-8")
        return path

    def endpoints(self) -> dict[str, Any]:
        """Return the part of bench.json that holds where everything is."""
        operator = self.tls("operator")
        return {
            "vin": self.topology.vehicle.vin,
            "hmi": f"http://localhost:{self.ports.hmi}",
            "hmi_port": self.ports.hmi,
            "cloud": {
                "grpc": f"{LOOPBACK}:{self.ports.grpc}",
                "artifacts": f"http://{LOOPBACK}:{self.ports.artifacts}/artifacts/",
                "operator_tls": {key: str(value) for key, value in operator.model_dump().items()},
            },
            "mqtt": f"{LOOPBACK}:{self.ports.mqtt}",
            "control_ports": self.ports.control,
            "frame_gates": self.ports.gates,
            "bus_loads": self.ports.loads,
            "ecus": addresses.ecu_entries(self.topology),
            "trace": str(self.folder.trace),
            "keys": str(self.keys_dir),
        }


def find_mosquitto() -> str | None:
    """Return the path of mosquitto; Debian installs it in a folder that is only in root's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
