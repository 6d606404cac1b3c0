"""A patch by a sequence profile: it is tried first, and the full image follows if the ECU refuses it."""

from __future__ import annotations

from pathlib import Path

from otabench.bench.gateway.config import GatewayTiming
from otabench.bench.gateway.flashing.progress import ProgressSender
from otabench.bench.gateway.flashing.records import Act, EcuRecords, FormerImages
from otabench.bench.gateway.flashing.sequence_ecu import SequenceEcu
from otabench.bench.gateway.vehicle import EcuImage
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.sequence.profile import load
from otabench.bench.uds.sequence_client import SequenceClient
from otabench.bench.uds.services import positive_head
from otabench.bench.uds.transport.channel import IsoTpConnection
from otabench.proto import trace
from otabench.proto.trace import TraceWriter

PROFILE = """\
name: mine
sequences:
  programming:
    - session: 0x02
    - for_each: block
      do: [{download: block}]
  revert: [{routine: 0x0206}]
payload: {kind: container, address: 0x00100000, data_format: 0x00, patch_data_format: 0x10}
takes_deltas: true
slots: {kind: version_only}
identity: {version: {did: 0xF189}}
"""


class Ecu(IsoTpConnection):
    """Agrees to everything, apart from patches if it takes none."""

    def __init__(self, *, takes_patches: bool) -> None:
        super().__init__("ecu")
        self.takes_patches = takes_patches
        self.requests: list[bytes] = []

    def open(self) -> Ecu:
        return self

    def close(self) -> None:
        pass

    def is_open(self) -> bool:
        return True

    def empty_rxqueue(self) -> None:
        pass

    def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
        self.requests.append(payload)

    def specific_wait_frame(self, timeout: float | None = None) -> bytes:
        request = self.requests[-1]
        if request[:2] == b"\x34\x10" and not self.takes_patches:
            return b"\x7f\x34\x31"
        return positive_head(request) + {0x22: b"1.0.0", 0x34: b"\x20\x0f\xff"}.get(request[0], b"")

    def sent_data(self) -> bytes:
        return b"".join(each[2:] for each in self.requests if each[0] == 0x36)


class Rig:
    def __init__(self, folder: Path, *, takes_patches: bool) -> None:
        (folder / "mine.yaml").write_text(PROFILE)
        endpoint = EcuEndpoint(name="pump", bus={}, request_id=1, response_id=2, serial="1", hardware_id="h")
        self.line = Ecu(takes_patches=takes_patches)
        self.trace_path, self.fetched = folder / "trace.jsonl", list[str]()
        client = SequenceClient(
            endpoint,
            load(folder / "mine.yaml"),
            self.line,
            TraceWriter(self.trace_path, component="test"),
            send_functional=lambda request, step: None,
            connect=lambda request_id, response_id: self.line,
        )
        client.job_id = "job-1"
        records, former = EcuRecords(folder / "ecus"), FormerImages(folder / "former")
        timing = GatewayTiming(stage_attempts=1)
        self.ecu = SequenceEcu(client, records=records, former=former, timing=timing)
        (folder / "patch").write_bytes(b"a patch")
        full = folder / "full"
        self.image = EcuImage("pump", "2.0.0", full, 9, b"{}", patch=folder / "patch", patch_length=7)

    def fetch(self, ecu: str) -> None:
        self.fetched.append(ecu)
        self.image.image.write_bytes(b"the image")

    def stage(self) -> None:
        self.ecu.begin(self.image)
        sender = ProgressSender(self.ecu.client, lambda _: None)
        self.ecu.stage(self.image, sender=sender, cancel=None, is_entered=False, fetch_image=self.fetch)

    def transfers(self) -> list[tuple[str, int]]:
        events = [event.data for event in trace.read(self.trace_path) if event.event == "flash.transfer"]
        return [(each["kind"], each["bytes"]) for each in events]


def test_the_patch_is_sent_with_its_own_format_and_the_size_of_the_image(tmp_path: Path) -> None:
    rig = Rig(tmp_path, takes_patches=True)
    rig.stage()
    assert rig.line.sent_data() == b"a patch"
    assert bytes.fromhex("34 10 44 00100000 00000009") in rig.line.requests
    assert (rig.fetched, rig.transfers()) == ([], [("delta", 7)])
    record = rig.ecu.reading.record
    assert record is not None
    assert record.act is Act.STAGED


def test_after_a_refused_patch_the_full_image_is_fetched_and_sent(tmp_path: Path) -> None:
    rig = Rig(tmp_path, takes_patches=False)
    rig.stage()
    assert rig.line.sent_data() == b"the image"
    assert (rig.fetched, rig.transfers()) == (["pump"], [("full", 9)])
    assert any(event.event == "flash.patch_refused" for event in trace.read(rig.trace_path))
