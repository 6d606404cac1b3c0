"""Every reader of what others send or write: it accepts the input, or raises the error that it names; nothing else, and not for long.

Requests of UDS in any order are in ``tests/ecu_firmware_sim/test_random_requests``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import bsdiff4
import can
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from securesystemslib.signer._crypto_signer import CryptoSigner

from otabench.bench.bus.frame import Frame
from otabench.bench.captures import formats, pcapng
from otabench.bench.captures.pcap import PcapReader
from otabench.bench.errors import BenchError, BenchFileError
from otabench.bench.faults.frame_faults import FrameFault
from otabench.bench.faults.load_plan import Load
from otabench.bench.gateway.hmi.guard import foreign_host, foreign_origin
from otabench.bench.gateway.hmi.pairing import Pairing
from otabench.bench.topology import bench_file
from otabench.ecu_firmware_sim import faults
from otabench.ecu_firmware_sim.boot import manifest
from otabench.ecu_firmware_sim.boot.manifest import ManifestRefused
from otabench.ecu_firmware_sim.boot.root_chain import TrustedRoot
from otabench.ecu_firmware_sim.errors import FaultError
from otabench.ecu_firmware_sim.programming import delta
from otabench.ecu_firmware_sim.programming.delta import PatchRefused
from otabench.proto import control_message, encrypted_artifact, image_format
from otabench.proto.control_message import NotAMessage
from otabench.proto.encrypted_artifact import ContainerError
from otabench.proto.image_format import ImageFormatError
from tests.ecu_firmware_sim.factory import HARDWARE_ID, SERIAL, VIN, ImageMaker, Keys, Manifest, code
from tests.fuzz.mutations import altered, damaged, values

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "40"))
"""How many inputs each reader gets. ``make fuzz`` sets it."""
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    # a random choice each time would make a failure of the suite hard to repeat; the long run is to find new ones
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

OLD, NEW = code("1.0.0", 3000), code("2.0.0", 3100)
PATCH: Final = bsdiff4.diff(OLD, NEW)
ARTIFACT: Final = encrypted_artifact.Header(4096, 10_000).pack() + bytes(200)
FRAMES: Final = (
    Frame(1_700_000_000_000_000, 0x7E0, 0, b"\x02\x10\x03"),
    Frame(1_700_000_000_000_500, 0x7E8, 4, bytes(64)),
)
PCAP: Final = formats.pcap_header() + b"".join(map(formats.pcap_record, FRAMES))
PCAPNG: Final = (
    pcapng.section_block()
    + pcapng.interface_block("vcan0", link_type=227)
    + pcapng.packet_block(0, formats.socketcan_packet(FRAMES[0]), timestamp_us=FRAMES[0].timestamp_us, is_sent=True)
)
CANDUMP: Final = "".join(formats.candump_line(frame, "vcan0") for frame in FRAMES).encode()
MESSAGE: Final = {"op": "fault", "kind": "nrc", "service": 0x36, "nrc": 0x72, "count": 1, "token": "0" * 32}
CODE: Final = "K7QM-2XFD-9RTP-AB3C"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def image(keys: Keys) -> bytes:
    return ImageMaker(keys)("2.0.0", counter=2, body=NEW, dependency="(1, 1.0.0)")


def run(inputs: st.SearchStrategy[Any], read: Callable[[Any], object], *refusals: type[Exception]) -> None:
    """Feed a reader. It may refuse only by these errors, whose words are a sentence of bounded length."""

    @fuzz
    @given(inputs)
    def check(given_input: Any) -> None:
        try:
            read(given_input)
        except refusals as refusal:
            assert str(refusal)
            assert len(str(refusal)) < 20_000

    check()


def test_image_headers(image: bytes) -> None:
    def read(data: bytes) -> None:
        parsed = image_format.parse(data)
        assert parsed.total_size <= len(data)
        image_format.digest(data, parsed)

    run(damaged(image), read, ImageFormatError)


def test_patches() -> None:
    def read(patch: bytes) -> None:
        written = 0

        def write(piece: bytes) -> None:
            nonlocal written
            written += len(piece)
            assert written <= len(NEW)

        report = delta.rebuild(patch, base=memoryview(OLD), new_bytes=len(NEW), ram_bytes=8_000_000, write=write)
        assert report.peak_ram_bytes <= 8_000_000

    run(damaged(PATCH), read, PatchRefused)


def test_encrypted_artifacts() -> None:
    def read(data: bytes) -> None:
        header = encrypted_artifact.parse_header(data)
        assert header.chunk_bytes <= encrypted_artifact.MAX_CHUNK_BYTES
        assert header.artifact_bytes > header.plaintext_bytes

    run(damaged(ARTIFACT), read, ContainerError)


def accept(keys: Keys, data: bytes) -> manifest.ManifestEntry:
    root = TrustedRoot.pinned((keys.folder / "root.json").read_bytes())
    return manifest.accept(
        data, root=root, vin=VIN, serial=SERIAL, hardware_id=HARDWARE_ID, last_accepted_version=1, attested_time_s=0
    )


def test_metadata_that_nobody_signed(keys: Keys, image: bytes) -> None:
    signed = Manifest(image).signed(keys.targets)
    assert accept(keys, signed).job_id == "job-1"
    run(damaged(signed), lambda data: (manifest.announced_job_id(data), accept(keys, data)), ManifestRefused)


def test_metadata_by_whoever_stole_the_targets_key(keys: Keys, image: bytes) -> None:
    sample = json.loads(Manifest(image, versions={1: "2.0.0"}).signed(keys.targets))["signed"]

    def read(signed: dict[str, Any]) -> None:
        data = _signed(signed, keys.targets)
        if data is not None:
            manifest.announced_job_id(data)
            accept(keys, data)

    run(altered(sample), read, ManifestRefused)


def _signed(signed: dict[str, Any], signer: CryptoSigner) -> bytes | None:
    """Return the metadata with a signature that is right; None where it has no canonical form to sign."""
    try:
        signature = signer.sign(encode_canonical(signed).encode())  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - the attacker's own difficulty, not the reader's
        return None
    entry = {"keyid": signature.keyid, "sig": signature.signature}
    return json.dumps({"signatures": [entry], "signed": signed}).encode()


def test_bench_files() -> None:
    run(damaged(bench_file.default_text().encode()), _parse_bench_file, BenchFileError)


def _parse_bench_file(data: bytes) -> None:
    with contextlib.suppress(UnicodeDecodeError):  # ``load`` refuses it before
        bench_file.parse(data.decode(), name="x.bench.yaml", folder=Path("/nowhere"))


def test_candump_logs() -> None:
    def read(data: bytes) -> list[tuple[str, Frame]]:
        return list(formats.parse_candump(io.StringIO(data.decode(errors="replace"))))

    run(damaged(CANDUMP), read, ValueError)


@pytest.mark.parametrize("capture", [PCAP, PCAPNG], ids=["pcap", "pcapng"])
def test_captures(capture: bytes) -> None:
    def read(data: bytes) -> None:
        for message in PcapReader(io.BytesIO(data)):
            assert isinstance(message, can.Message)
            assert len(message.data) <= 64

    read(capture)
    run(damaged(capture), read, ValueError)


def test_lines_of_control_ports() -> None:
    run(damaged(json.dumps(MESSAGE).encode()), control_message.parse, NotAMessage)


@pytest.mark.parametrize(
    ("read", "sample", "refusal"),
    [
        (faults.parse, {"kind": "nrc", "service": 0x36, "nrc": 0x72, "count": 1}, FaultError),
        (faults.parse, {"kind": "power-cut", "flash_operation": 9, "mode": "torn", "off_s": 1, "seed": 7}, FaultError),
        (FrameFault.parse, {"kind": "delay", "every": 5, "ms": 3, "ids": [1, 2], "direction": "rx"}, BenchError),
        (Load.parse, {"share": "60%", "ids": "0x500-0x53F"}, BenchError),
        (Load.parse, {"share": 60, "priority": "low"}, BenchError),
    ],
    ids=["nrc", "power-cut", "frames", "load by ids", "load by priority"],
)
def test_faults_at_control_ports(
    read: Callable[[Any], object], sample: dict[str, Any], refusal: type[Exception]
) -> None:
    read(sample)
    run(altered(sample), read, refusal)


def test_what_the_drivers_page_receives() -> None:
    pairing = Pairing(CODE)

    def read(text: str) -> None:
        foreign_host(text, local_address="127.0.0.1")
        foreign_origin(text, None, host_header=text)
        assert not pairing.accepts(text)
        assert not pairing.is_session(text)

    run(st.text(max_size=60) | damaged(CODE.encode()).map(lambda data: data.decode("latin-1")).filter(_is_wrong), read)


def _is_wrong(text: str) -> bool:
    return text.replace("-", "").replace(" ", "").upper() != CODE.replace("-", "")


def test_any_value_as_a_member() -> None:
    def read(value: Any) -> None:
        for kind in faults.FaultKind:
            for key in ("count", "service", "volts", "slot", "mode", "seed"):
                with contextlib.suppress(FaultError):
                    parsed = faults.parse({"kind": str(kind), key: value})
                    struct.pack("<d", float(parsed.left or 0))

    run(values, read)
