"""Tools of the tests in this folder: a cloud process, a vehicle that speaks gRPC, and an image maker (imgtool)."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from imgtool.main import imgtool

from otabench.bench.deadline import wait_until
from otabench.bench.firmware.image_repository import ListedImage, OfflineRepository
from otabench.cloud.store.schema import CampaignRow
from otabench.proto import image_format, ota_pb2, ota_pb2_grpc
from otabench.proto.program_format import ProgramFormat
from otabench.proto.trace import TraceEvent, read
from otabench.proto.uptane import PayloadCustom, SegmentCustom

ENGINE, ADAS = "engine-mcu-a", "adas-soc-b"
START_S = 60.0
CALL_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ImageMaker:
    """Signed images by imgtool, each made once."""

    def __init__(self, key: Path, folder: Path) -> None:
        self._key = key
        self._folder = folder
        self._made: dict[tuple[Any, ...], bytes] = {}

    def __call__(
        self,
        hardware_id: str = ENGINE,
        version: str = "2.0.0",
        *,
        counter: int = 2,
        seed: int = 1,
        key: Path | None = None,
        needs: str = "",
    ) -> bytes:
        """Return a signed image. Binaries of one ``seed`` differ between versions in a few places only, others share nothing."""
        wanted = (hardware_id, version, counter, seed, key, needs)
        if wanted not in self._made:
            self._made[wanted] = self._make(hardware_id, version, counter, seed, key or self._key, needs)
        return self._made[wanted]

    def _make(self, hardware_id: str, version: str, counter: int, seed: int, key: Path, needs: str) -> bytes:
        body = bytearray(random.Random(seed).randbytes(48 * 1024))
        changes = random.Random(version)
        for _ in range(8):
            offset = changes.randrange(len(body))
            body[offset:offset] = changes.randbytes(16)
        raw, signed = self._folder / "raw.bin", self._folder / "signed.bin"
        raw.write_bytes(body)
        arguments = f"sign --header-size 0x200 --pad-header --slot-size 0x100000 --align 8 --version {version}"
        arguments += f" --security-counter {counter} --vid otabench --cid {hardware_id}"
        arguments += f" --dependencies {needs}" if needs else ""
        imgtool([*arguments.split(), "-k", str(key), str(raw), str(signed)], standalone_mode=False)
        return signed.read_bytes()


@dataclass
class Peer:
    """One end's stubs, with its certificate."""

    channel: grpc.Channel

    @cached_property
    def control(self) -> Any:
        return ota_pb2_grpc.ControlPlaneStub(self.channel)  # type: ignore[no-untyped-call]

    @cached_property
    def operator(self) -> Any:
        return ota_pb2_grpc.OperatorStub(self.channel)  # type: ignore[no-untyped-call]


class Cloud:
    """A cloud process, with mutual TLS unless ``tls`` is False."""

    def __init__(
        self,
        folder: Path,
        keys_dir: Path,
        *,
        plane: str = "control",
        tls: bool = True,
        mqtt_port: int | None = None,
        mqtt_tls: bool = False,
        embedded_broker: bool = False,
        poll_interval_s: float = 7.0,
    ) -> None:
        self.folder, self.keys_dir, self.plane, self.tls = folder, keys_dir, plane, tls
        self.grpc_port, self.artifact_port = free_port(), free_port()
        self.mqtt_port = mqtt_port or free_port()
        self.trace_file = folder / "trace.jsonl"
        self.process: subprocess.Popen[str] | None = None
        self._channels: dict[str, grpc.Channel] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.config: dict[str, Any] = {
            "state_dir": str(folder / "state"),
            "database_url": f"sqlite:///{folder}/state/cloud.db",
            "artifact_store": f"file://{folder}/artifacts",
            "keys_dir": str(keys_dir),
            "grpc_port": self.grpc_port,
            "tls": self.tls_files("cloud") if tls else None,
            "artifact_port": self.artifact_port,
            "artifact_base_url": f"http://127.0.0.1:{self.artifact_port}/artifacts/",
            "mqtt_port": self.mqtt_port,
            "mqtt_tls": self.tls_files("events") if mqtt_tls else None,
            "embedded_broker": embedded_broker,
            "poll_interval_s": poll_interval_s,
            "trace": str(self.trace_file),
        }

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def artifacts_url(self) -> str:
        return str(self.config["artifact_base_url"])

    def write_config(self) -> Path:
        """Write the configuration file and return its path."""
        config = self.folder / "config.json"
        config.write_text(json.dumps(self.config))
        return config

    def launch(self) -> subprocess.Popen[str]:
        """Start the process without waiting for it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otabench.cloud", self.plane, "--config", str(self.write_config())],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "log").open("a"),
            text=True,
        )
        return self.process

    def start(self) -> None:
        """Start the process and wait until its last plane reports that it is ready."""
        process = self.launch()
        last = {"all": "control"}.get(self.plane, self.plane)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"cloud: {last} ready"):
                return
        raise AssertionError(f"the cloud did not start: {self.log()}")

    def tls_files(self, who: str) -> dict[str, str]:
        """Return a TlsConfig with the certificate of that name."""
        names = {"ca": "ca.pem", "certificate": f"{who}.pem", "key": f"{who}.key"}
        return {part: str(self.keys_dir / "tls" / name) for part, name in names.items()}

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self._close_channels()
        return status

    def kill(self) -> None:
        """kill -9."""
        self._close_channels()
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def peer(self, certificate: str) -> Peer:
        """Return stubs with the certificate of that name from the key folder's tls/. Without TLS the name does not matter."""
        if certificate not in self._channels:
            options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
            address = f"localhost:{self.grpc_port}"
            if self.tls:
                tls = self.keys_dir / "tls"
                credentials = grpc.ssl_channel_credentials(
                    (tls / "ca.pem").read_bytes(),
                    (tls / f"{certificate}.key").read_bytes(),
                    (tls / f"{certificate}.pem").read_bytes(),
                )
                self._channels[certificate] = grpc.secure_channel(address, credentials, options)
            else:
                self._channels[certificate] = grpc.insecure_channel(address, options)
        return Peer(self._channels[certificate])

    @property
    def operator(self) -> Any:
        return self.peer("operator").operator

    def publish(self, request: ota_pb2.CreateCampaignRequest) -> None:
        """List a campaign's images in the Image repository, as whoever holds the offline keys does."""
        listed = [each for each in map(_listed, request.images) if each is not None]
        if listed:
            files = OfflineRepository(self.keys_dir / "image_repository").add(listed)
            self.operator.PublishImages(ota_pb2.PublishImagesRequest(metadata=files), timeout=CALL_S)

    def create_campaign(self, request: ota_pb2.CreateCampaignRequest) -> ota_pb2.Campaign:
        """Publish the images and create the campaign."""
        self.publish(request)
        campaign = self.operator.CreateCampaign(request, timeout=CALL_S)
        assert isinstance(campaign, ota_pb2.Campaign)
        return campaign

    def trace(self, event: str, *, vin: str | None = None) -> list[TraceEvent]:
        return [line for line in read(self.trace_file) if line.event == event and vin in (None, line.vin)]

    def _close_channels(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()


@dataclass
class Vehicle:
    """A vehicle's side of the wire, with an engine and an adas ECU."""

    vin: str
    versions: dict[str, str] = field(default_factory=lambda: {"engine": "1.0.0", "adas": "1.0.0"})
    counters: dict[str, int] = field(default_factory=lambda: {"engine": 1, "adas": 1})
    hardware: dict[str, str] = field(default_factory=lambda: {"engine": ENGINE, "adas": ADAS})
    seq: int = 0

    def register(self, cloud: Cloud) -> None:
        ecus = [
            ota_pb2.RegisterVehicleRequest.Ecu(ecu=name, serial=self.serial(name), hardware_id=hardware_id)
            for name, hardware_id in self.hardware.items()
        ]
        cloud.operator.RegisterVehicle(ota_pb2.RegisterVehicleRequest(vin=self.vin, ecus=ecus), timeout=CALL_S)

    def serial(self, ecu: str) -> str:
        return f"{self.vin[-4:]}-{ecu}"

    def reports(self) -> list[ota_pb2.EcuReport]:
        confirmed = ota_pb2.SLOT_STATE_CONFIRMED
        return [
            ota_pb2.EcuReport(
                ecu=name,
                serial=self.serial(name),
                hardware_id=hardware_id,
                software_version=self.versions[name],
                active_slot=0,
                slots=[
                    ota_pb2.Slot(state=confirmed, version=self.versions[name], security_counter=self.counters[name]),
                    ota_pb2.Slot(state=ota_pb2.SLOT_STATE_EMPTY),
                ],
            )
            for name, hardware_id in self.hardware.items()
        ]

    def control(self, cloud: Cloud) -> Any:
        return cloud.peer(f"vehicle-{self.vin}").control

    def check_in(
        self, cloud: Cloud, *, job_id: str = "", ecus: list[ota_pb2.EcuReport] | None = None
    ) -> ota_pb2.CheckInResponse:
        """Check in, and again while the manifest is being made."""
        request = ota_pb2.CheckInRequest(vin=self.vin, ecus=self.reports() if ecus is None else ecus, job_id=job_id)
        answers: list[ota_pb2.CheckInResponse] = []

        def is_made() -> bool:
            answers.append(self.control(cloud).CheckIn(request, timeout=CALL_S))
            return "is being made" not in answers[-1].reason

        wait_until(is_made, timeout_s=CALL_S, interval_s=0.2)
        return answers[-1]

    def update(
        self, cloud: Cloud, job_id: str, state: str, *, seq: int | None = None, **fields: Any
    ) -> ota_pb2.UpdateStatusResponse:
        """Report a state, as the next transition if ``seq`` is not given."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        answer = self.control(cloud).UpdateStatus(
            ota_pb2.UpdateStatusRequest(
                vin=self.vin,
                job_id=job_id,
                state=f"JOB_STATE_{state}",
                transition_seq=seq,
                **fields,
            ),
            timeout=CALL_S,
        )
        assert isinstance(answer, ota_pb2.UpdateStatusResponse)
        return answer


def _listed(given: ota_pb2.CreateCampaignRequest.Image) -> ListedImage | None:
    """Return what the Image repository lists of an image; None for one that is none."""
    try:
        if given.HasField("program"):
            program = given.program
            payload = PayloadCustom(
                format=ProgramFormat(program.format),
                start_address=program.start_address if program.HasField("start_address") else None,
                segments=tuple(SegmentCustom(address=each.address, length=each.length) for each in program.segments),
            )
            return ListedImage(given.hardware_id, program.version, given.image, 0, payload)
        image = image_format.parse(given.image)
    except (ValueError, image_format.ImageFormatError):
        return None
    return ListedImage(given.hardware_id, str(image.version), given.image, image.security_counter or 0)


def plain_campaign() -> CampaignRow:
    """Return a row for jobs that need a campaign, whatever it is."""
    return CampaignRow(
        campaign_id="c",
        name="",
        release_notes="",
        transfer="auto",
        manifest_lifetime_s=0,
        approval_timeout_s=0,
        created_at=0,
    )


def campaign_request(vehicle: Vehicle, *files: tuple[str, bytes], **fields: Any) -> ota_pb2.CreateCampaignRequest:
    """Return a campaign for one vehicle. ``files``: hardware ids and images."""
    return ota_pb2.CreateCampaignRequest(
        name="Autumn release",
        release_notes="Smoother.",
        vins=[vehicle.vin],
        images=[ota_pb2.CreateCampaignRequest.Image(hardware_id=hardware, image=image) for hardware, image in files],
        **fields,
    )


def state_name(value: int) -> str:
    return ota_pb2.JobState.Name(value).removeprefix("JOB_STATE_")


def words_of(error: grpc.RpcError) -> str:
    """Return the detail of an error's status."""
    return error.details() or ""
