"""A running bench as a scene: its keys, its gateway's accepted metadata, its ECUs over the bus, its cloud.

* The gateway's verification runs in this process, on a copy of what the bench's gateway has accepted. So an attack that succeeds changes
  nothing in the real gateway.
* Requests to an ECU go over the bench's bus. A refused attack may leave the inactive slot INVALID, as any download that breaks off does.
  Cases after which an ECU would refuse honest updates are not made here (``Case.is_for_tests``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from otabench.bench.attacks.cloud_door import CloudDoor
from otabench.bench.attacks.ecu_door import EcuDoor
from otabench.bench.attacks.forge import Forge
from otabench.bench.attacks.scene import Firmware, Pinned, Scene
from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.errors import BenchError
from otabench.bench.firmware import images, synthetic
from otabench.bench.firmware.images import ImageDetails
from otabench.bench.gateway.agent import known_ecu
from otabench.bench.gateway.config import GatewayConfig
from otabench.bench.run_folder import RunFolder
from otabench.bench.uds import flash_profiles
from otabench.bench.uds import profile as profiles
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused
from otabench.bench.uds.transport import TransportError, open_channel
from otabench.proto import security_algorithm
from otabench.proto.image_format import ImageVersion
from otabench.proto.job_states import JobState, from_wire, is_final
from otabench.proto.trace import TraceWriter

_OTHER_VIN: Final = "W0TOTHER000000001"
_UNTOUCHED: Final = frozenset({JobState.CREATED, JobState.CONFIRMING, JobState.WAITING_FOR_APPROVAL})
"""Open jobs in these states do not program an ECU."""
_BODY_BYTES: Final = 6000
_ATTEMPTS: Final = 3


class UdsPort:
    """An ECU on a bus, as an ``EcuPort``."""

    def __init__(self, client: EcuClient) -> None:
        self._client = client

    def exchange(self, request: bytes) -> bytes:
        for _ in range(_ATTEMPTS):
            try:
                return self._client.request(request, step=f"attack: {request[:4].hex(' ').upper()}")
            except EcuRefused as refused:
                if refused.nrc is None:
                    raise
                return bytes((0x7F, request[0], refused.nrc))
            except EcuLost:
                return b""
            except EcuContradicts:
                # The bench's gateway asks the same ECU for its conditions meanwhile. A request of several frames that another one cuts off
                # is lost (ISO 15765-2), so it was not carried out.
                continue
        return b""


@contextmanager
def scene_of(bench: RunningBench, folder: Path) -> Iterator[Scene]:
    """Give the running bench as a scene while the context lasts.

    Args:
        bench: the bench.
        folder: an empty folder for copies and downloads.

    Raises:
        BenchError: an update is under way, or the bench has no ECU with a slot table.
    """
    _require_quiet(bench)
    config = _gateway_config(bench)
    keys_dir = Path(bench.content["keys"])
    with ExitStack() as stack:
        doors = [_door(ecu, stack) for ecu in config.ecus if _has_slots(ecu)]
        if not doors:
            raise BenchError("these attacks need an ECU with a slot table and the built-in security access")
        target = doors[0]
        for name in ("director", "image"):
            if (config.state_dir / name).is_dir():
                shutil.copytree(config.state_dir / name, folder / "trusted" / name)
        cloud = CloudDoor(
            str(bench.content["cloud"]["grpc"]),
            str(bench.content["cloud"]["artifacts"]),
            keys_dir / "tls",
            bench.vin,
            _OTHER_VIN,
        )
        stack.callback(cloud.close)
        maker = _ImageMaker(target, keys_dir, folder)
        running = ImageVersion.parse(target.identity().software_version)
        yield Scene(
            pinned=Pinned(
                bench.vin, tuple(known_ecu(ecu) for ecu in config.ecus), config.director_root, config.image_root
            ),
            trusted=folder / "trusted",
            downloads=folder / "downloads",
            forge=Forge(keys_dir, vin=bench.vin),
            target=target,
            other=next(iter(doors[1:]), None),
            good=maker.make(f"{running.major + 1}.0.0", True),
            older=maker.make("0.9.0", True),
            make_image=maker.make,
            cloud=cloud,
            memory={
                "base": bench.running_image(target.name, hardware_id=target.hardware_id),
                "ecu_keys": keys_dir / "ecu",
            },
        )
        for door in doors:
            door.leave()


class _ImageMaker:
    """Images of the target, signed with the bench's firmware key or with a stranger's."""

    def __init__(self, target: EcuDoor, keys_dir: Path, folder: Path) -> None:
        self._target, self._keys_dir, self._folder = target, keys_dir, folder
        self._stranger = folder / "stranger"

    def make(self, version: str, is_genuine: bool) -> Firmware:
        target = self._target
        body = synthetic.build(target.hardware_id, size_bytes=_BODY_BYTES, version=images.parse_version(version))
        made = images.pack(
            body,
            ImageDetails(target.name, target.hardware_id, version),
            keys_dir=self._keys_dir if is_genuine else self._stranger_keys(),
            out=self._folder / "images" / f"{version}-{is_genuine}.bin",
        )
        return Firmware(version, made.path.read_bytes(), made.security_counter)

    def _stranger_keys(self) -> Path:
        key = self._stranger / images.SIGNING_KEY
        if not key.exists():
            key.parent.mkdir(parents=True)
            key.touch(mode=0o600)
            key.write_bytes(
                Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
        return self._stranger


def _require_quiet(bench: RunningBench) -> None:
    with bench.operator() as operator:
        states = [from_wire(job.state) for campaign in operator.list_campaigns() for job in campaign.jobs]
    if busy := [state for state in states if not is_final(state) and state not in _UNTOUCHED]:
        raise BenchError(f"an update is under way ({busy[0]}): wait for its end, and attack then")


def _gateway_config(bench: RunningBench) -> GatewayConfig:
    path = RunFolder(bench.folder).config("gateway")
    try:
        return GatewayConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BenchError(
            f"{path}: {error.strerror}; an attack needs the rights of whoever started the bench"
        ) from error


def _has_slots(ecu: EcuEndpoint) -> bool:
    facts = flash_profiles.facts_of(ecu.profile)
    return (
        facts.payload != "raw"
        and ecu.security_algorithm == security_algorithm.DEFAULT
        and facts.metadata_bytes is not None
    )


def _door(ecu: EcuEndpoint, stack: ExitStack) -> EcuDoor:
    try:
        channel = open_channel(ecu.bus, ecu.isotp)
    except TransportError as error:
        raise BenchError(f"{ecu.name}: {error}") from error
    stack.callback(channel.close)
    connection = channel.connection(request_id=ecu.request_id, response_id=ecu.response_id, isotp=ecu.isotp)
    client = EcuClient(ecu, profiles.load(ecu.profile), connection, TraceWriter(None, component="attack"))
    stack.callback(client.close)
    return EcuDoor(ecu.name, ecu.hardware_id, ecu.serial, bytes.fromhex(ecu.security_secret), UdsPort(client))
